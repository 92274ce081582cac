export const load = () => ({ release: process.env.SLUICE_RELEASE });
