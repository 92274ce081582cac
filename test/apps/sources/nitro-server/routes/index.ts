export default defineEventHandler(() => `release ${process.env.SLUICE_RELEASE}.`);
