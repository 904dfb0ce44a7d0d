import { after, Chan, otherwise, recv, type Received, select, selectAsync, send } from "@millrace/channels";
import { attempt, type Cases, type Differences, settle } from "./cases.ts";

/** Gives the case channels that are closed and freed after it. */
function withChannels(
  run: (make: (capacity?: number) => Chan<number>) => readonly unknown[] | Promise<readonly unknown[]>,
): Cases[string] {
  return async () => {
    const channels: Chan<number>[] = [];
    const outcome = await run((capacity = 0) => {
      const channel = Chan.int32(capacity);
      channels.push(channel);
      return channel;
    });
    for (const channel of channels) {
      if (!channel.isClosed) channel.close();
      while (channel.tryRecv()?.ok === true);
      channel.free();
    }
    return outcome;
  };
}

/** As Go shows it: the zero value and false after the end. */
function shown({ ok, value }: Received<number>): [number, boolean] {
  return [ok ? value : 0, ok];
}

export const channelCases: Cases = {
  "channel: sending on a closed one": withChannels(async (make) => {
    const channel = make(1);
    channel.close();
    return [await attempt(() => channel.trySend(1))];
  }),

  "channel: closing a closed one": withChannels(async (make) => {
    const channel = make();
    channel.close();
    return [await attempt(() => channel.close())];
  }),

  "channel: what was sent before the end can still be received": withChannels(async (make) => {
    const channel = make(3);
    channel.trySend(1);
    channel.trySend(2);
    channel.close();
    const outcome: unknown[] = [];
    for (let round = 0; round < 4; round += 1) outcome.push(...shown(await channel.recvAsync()));
    return outcome;
  }),

  "channel: length and room, also after the end": withChannels((make) => {
    const channel = make(3);
    channel.trySend(1);
    channel.trySend(2);
    const before = [channel.len, channel.cap];
    channel.close();
    channel.tryRecv();
    return [...before, channel.len, channel.cap];
  }),

  "channel: the end wakes all that wait to receive": withChannels(async (make) => {
    const channel = make();
    const woken = [0, 1, 2].map(() => channel.recvAsync());
    await settle();
    channel.close();
    return (await Promise.all(woken)).map(({ ok }) => ok);
  }),

  "channel: the end fails all that wait to send": withChannels(async (make) => {
    const channel = make();
    const failed = [0, 1].map(() => attempt(() => channel.sendAsync(1)));
    await settle();
    channel.close();
    return await Promise.all(failed);
  }),

  "channel: a loop over it ends with it": withChannels(async (make) => {
    const channel = make();
    const sending = (async () => {
      for (let item = 0; item < 4; item += 1) await channel.sendAsync(item);
      channel.close();
    })();
    const outcome: number[] = [];
    for await (const item of channel) outcome.push(item);
    await sending;
    return outcome;
  }),

  "channel: items keep the order of one sender": withChannels(async (make) => {
    const channel = make(2);
    const sending = (async () => {
      for (let item = 0; item < 100; item += 1) await channel.sendAsync(item);
      channel.close();
    })();
    let last = -1;
    let isInOrder = true;
    for await (const item of channel) {
      isInOrder = isInOrder && item === last + 1;
      last = item;
    }
    await sending;
    return [isInOrder, last];
  }),

  "channel: senders that wait are served in the order in which they came": withChannels(async (make) => {
    const channel = make();
    const names = ["a", "b", "c"];
    const sending = names.map((_, name) => channel.sendAsync(name));
    await settle();
    const outcome: unknown[] = [];
    for (let round = 0; round < 3; round += 1) outcome.push(names[(await channel.recvAsync()).value as number]);
    await Promise.all(sending);
    return outcome;
  }),

  "channel: receivers that wait are served in the order in which they came": withChannels(async (make) => {
    const channel = make();
    const names = ["a", "b", "c"];
    const got = names.map(() => channel.recvAsync());
    await settle();
    for (let name = 0; name < 3; name += 1) await channel.sendAsync(name);
    return (await Promise.all(got)).map(({ value }) => names[value as number]);
  }),

  "channel: without a buffer a send waits until it was received": withChannels(async (make) => {
    const channel = make();
    let isSent = false;
    const sending = channel.sendAsync(1).then(() => (isSent = true));
    await settle();
    const order: unknown[] = [isSent ? "sent before" : "waits"];
    order.push((await channel.recvAsync()).value);
    await sending;
    return [...order, "sent"];
  }),

  "channel: with a buffer a send waits only when that is full": withChannels((make) => {
    const channel = make(2);
    const attemptToSend = (): string => (channel.trySend(1) ? "sent" : "full");
    const outcome = [attemptToSend(), attemptToSend(), attemptToSend()];
    channel.tryRecv();
    return [...outcome, attemptToSend(), attemptToSend()];
  }),

  "channel: what a waiting sender has moves up into the buffer": withChannels(async (make) => {
    const channel = make(1);
    channel.trySend(1);
    const sending = channel.sendAsync(2);
    await settle();
    const first = channel.tryRecv();
    await sending;
    return [first?.value, channel.len, channel.tryRecv()?.value];
  }),

  "select: the default is taken only when nothing is ready": withChannels((make) => {
    const empty = make();
    const full = make(1);
    full.trySend(7);
    const pick = (): unknown => {
      const { index, value } = select([recv(empty), recv(full), otherwise()]);
      return index === 2 ? "default" : index === 0 ? "empty" : value;
    };
    return [pick(), pick()];
  }),

  "select: a closed channel is ready at once, again and again": withChannels((make) => {
    const closed = make();
    const silent = make();
    closed.close();
    const outcome: unknown[] = [];
    for (let round = 0; round < 2; round += 1) {
      const chosen = select([recv(closed), recv(silent), otherwise()]);
      outcome.push(...(chosen.index === 0 ? shown(chosen) : ["silent"]));
    }
    return outcome;
  }),

  "select: sending on a closed channel": withChannels(async (make) => {
    const closed = make(1);
    const silent = make();
    closed.close();
    return [await attempt(() => select([send(closed, 1), recv(silent), otherwise()]))];
  }),

  "select: of two that are ready each is taken in turn, by chance": withChannels((make) => {
    const one = make(2000);
    const two = make(2000);
    for (let item = 0; item < 2000; item += 1) {
      one.trySend(item);
      two.trySend(item);
    }
    let ones = 0;
    for (let round = 0; round < 2000; round += 1) if (select([recv(one), recv(two)]).index === 0) ones += 1;
    return [ones > 550 && ones < 1450];
  }),

  "select: one case happens, the others leave no trace": withChannels(async (make) => {
    const one = make();
    const two = make(1);
    const selecting = selectAsync([send(one, 1), recv(two)]);
    await settle();
    await two.sendAsync(5);
    const { index, value } = await selecting;
    return [index === 0 ? "one" : value, one.tryRecv() === undefined ? "not sent" : "sent too"];
  }),

  "select: a time limit": withChannels(async (make) => {
    const { index } = await selectAsync([recv(make()), after(2)]);
    return [index === 0 ? "received" : "time is up"];
  }),

  "select: sending and receiving on one channel at once": withChannels((make) => {
    const channel = make(1);
    const outcome: string[] = [];
    for (let round = 0; round < 4; round += 1) {
      outcome.push(select([send(channel, 1), recv(channel)]).index === 0 ? "sent" : "received");
    }
    return outcome;
  }),
};

export const channelDifferences: Differences = {};
