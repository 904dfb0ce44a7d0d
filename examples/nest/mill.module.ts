import { Global, Inject, Module, type OnApplicationShutdown } from "@nestjs/common";
import { type Millrace, open } from "millrace";

export const MILL = Symbol("millrace");
export type Mill = Millrace<typeof import("./handlers.ts")>;

@Global()
@Module({
  providers: [
    {
      provide: MILL,
      useFactory: (): Promise<Mill> =>
        open({ handlers: new URL("./handlers.js", import.meta.url), journal: { directory: "./data" } }),
    },
  ],
  exports: [MILL],
})
export class MillModule implements OnApplicationShutdown {
  constructor(@Inject(MILL) private readonly mill: Mill) {}

  async onApplicationShutdown(): Promise<void> {
    await this.mill.close({ timeoutMs: 8000 });
  }
}
