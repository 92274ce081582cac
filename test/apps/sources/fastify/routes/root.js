'use strict';

module.exports = async (fastify) => {
  fastify.get('/', async () => fastify.release());
};
