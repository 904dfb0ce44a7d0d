// The documentation as a site. The pages are written to be read in the repository too, so nothing
// in them needs VitePress.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitepress";

const docs = fileURLToPath(new URL("..", import.meta.url));
const root = dirname(docs.replace(/\/$/, ""));
const REPOSITORY = "https://github.com/millrace/millrace/blob/main/";

const titleOf = (file) => /^# (.+)$/m.exec(readFileSync(join(docs, file), "utf8"))?.[1] ?? file;
const page = (name) => ({ text: titleOf(`${name}.md`).replaceAll("`", ""), link: `/${name}` });

const decisions = readdirSync(join(docs, "adr"))
  .filter((name) => /^\d+.*\.md$/.test(name))
  .toSorted()
  .map((name) => page(`adr/${name.replace(/\.md$/, "")}`));

/** A folder of the reference: packages, then kinds, then names. */
function referenceOf(folder) {
  const names = readdirSync(join(docs, folder), { withFileTypes: true });
  const folders = names.filter((name) => name.isDirectory()).map(({ name }) => name);
  const files = names.filter((name) => name.isFile() && name.name !== "index.md").map(({ name }) => name.slice(0, -3));
  return [
    ...folders.toSorted().map((name) => ({
      text: name,
      collapsed: true,
      ...(existsSync(join(docs, folder, name, "index.md")) ? { link: `/${folder}/${name}/` } : {}),
      items: referenceOf(`${folder}/${name}`),
    })),
    ...files.toSorted().map((name) => ({ text: name, link: `/${folder}/${name}` })),
  ];
}

/** Written by scripts/docs.mjs. */
const reference = existsSync(join(docs, "api")) ? referenceOf("api") : [];

/** What a page links to outside of `docs/` is shown by the repository. */
function linksToRepository(md) {
  const { link_open: before } = md.renderer.rules;
  md.renderer.rules.link_open = (tokens, index, options, env, self) => {
    const token = tokens[index];
    const href = token.attrGet("href");
    if (href !== null && /^\.\.?\//.test(href) && env.path !== undefined) {
      const target = resolve(dirname(env.path), href);
      if (relative(docs, target).startsWith("..")) token.attrSet("href", REPOSITORY + relative(root, target));
    }
    return before?.(tokens, index, options, env, self) ?? self.renderToken(tokens, index, options);
  };
}

/** As the repository makes them, so that a link to a heading works in both. */
const slugify = (heading) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .trim()
    .replaceAll(" ", "-");

/** The chapters of the sidebar, in the order in which one reads. */
const chapters = [
  { text: "Begin", items: ["start", "choose", "concepts"].map(page) },
  {
    text: "Guides",
    items: [
      ...["payments", "pipelines", "embed", "shutdown", "testing", "tuning", "containers"].map((name) =>
        page(`guides/${name}`),
      ),
      ...["guides/from-bullmq", "guides/from-piscina", "bundlers", "test-runners", "systems"].map(page),
    ],
  },
  {
    text: "Records",
    items: ["intake", "backpressure", "dead-letters", "replay", "shadow", "ingest", "serve", "operate", "observe"].map(
      page,
    ),
  },
  {
    text: "Threads",
    items: ["pool", "channels", "locks", "contexts", "trace"].map(page),
  },
  { text: "Reference", items: [...["reference", "command", "errors", "words"].map(page), ...reference] },
  {
    text: "Inside",
    collapsed: true,
    items: ["scheduler", "journal", "intake-states", "journal-format", "value-format", "checker", "crash-testing"].map(
      page,
    ),
  },
  { text: "Decisions", link: "/adr/", collapsed: true, items: decisions },
];

/** A page that no chapter names comes at the end, rather than nowhere. */
const named = JSON.stringify(chapters);
const others = readdirSync(docs, { recursive: true })
  .map((name) => String(name).replace(/\.md$/, ""))
  .filter((name) => /^(?:guides\/)?[\w-]+$/.test(name) && existsSync(join(docs, `${name}.md`)))
  .filter((name) => name !== "README" && !named.includes(`"/${name}"`));
if (others.length > 0) chapters.push({ text: "More", items: others.toSorted().map(page) });

export default defineConfig({
  title: "Millrace",
  description: "A parallel runtime for Node.js on shared memory, with a journal that loses no record",
  lang: "en",
  outDir: join(root, ".build/docs"),
  cacheDir: join(root, ".build/vitepress"),
  cleanUrls: true,
  rewrites: { "README.md": "index.md", "adr/README.md": "adr/index.md" },
  srcExclude: ["node_modules/**"],
  markdown: { anchor: { slugify }, config: (md) => linksToRepository(md) },
  vite: { server: { fs: { allow: [root] } } },
  themeConfig: {
    // Built into the site: reading it asks no other server for anything.
    search: { provider: "local" },
    outline: [2, 3],
    socialLinks: [{ icon: "github", link: "https://github.com/millrace/millrace" }],
    nav: [
      { text: "Start", link: "/start" },
      { text: "Choose", link: "/choose" },
      { text: "Guides", link: "/guides/payments" },
      { text: "Reference", link: "/reference" },
    ],
    sidebar: chapters,
  },
});
