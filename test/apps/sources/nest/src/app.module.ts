import { Controller, Get, Module } from '@nestjs/common';

@Controller()
class AppController {
  @Get()
  release(): string {
    return `release ${process.env.SLUICE_RELEASE}.`;
  }
}

@Module({ controllers: [AppController] })
export class AppModule {}
