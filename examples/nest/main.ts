import "reflect-metadata";
import { Body, Controller, HttpCode, Inject, Module, Post } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import type { Payment } from "./handlers.ts";
import { type Mill, MILL, MillModule } from "./mill.module.ts";

@Controller("payments")
class PaymentsController {
  constructor(@Inject(MILL) private readonly mill: Mill) {}

  @Post()
  @HttpCode(202)
  async pay(@Body() payment: Payment): Promise<{ sequence: number; duplicate: boolean }> {
    const options = { key: payment.account, idempotencyKey: payment.id, timeoutMs: 2000 };
    const { sequence, duplicate } = await this.mill.publish.settle(payment, options);
    return { sequence, duplicate };
  }
}

@Module({ imports: [MillModule], controllers: [PaymentsController] })
class AppModule {}

const app = await NestFactory.create(AppModule, { logger: ["error"] });
app.enableShutdownHooks();
await app.listen(Number(process.env["PORT"] ?? 3000), "127.0.0.1");
console.log(`listening on ${await app.getUrl()}`);
