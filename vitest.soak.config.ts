import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { environment: 'node', include: ['test/soak/soak.ts'], pool: 'forks', reporters: ['verbose'] },
});
