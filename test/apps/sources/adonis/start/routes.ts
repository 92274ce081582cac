import router from '@adonisjs/core/services/router';

router.get('/', () => `release ${process.env.SLUICE_RELEASE}.`);
