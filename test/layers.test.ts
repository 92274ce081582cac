import assert from 'node:assert/strict';
import { glob, readFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';

/**
 * Who may import whom, as in docs/internals/layers.md. `types` may be imported as types only: what travels over a wire
 * is written down once.
 */
const layers: Record<string, { imports: string[]; types?: string[] }> = {
  errors: { imports: [] },
  system: { imports: ['errors'] },
  config: { imports: ['errors', 'system'] },
  protocol: { imports: ['errors', 'system'], types: ['config'] },
  releases: { imports: ['errors', 'system', 'config'], types: ['protocol'] },
  git: { imports: ['errors', 'system'] },
  logs: { imports: ['errors', 'system'], types: ['protocol'] },
  static: { imports: [] },
  build: { imports: ['errors', 'system', 'config', 'protocol', 'releases', 'static'] },
  edge: { imports: ['errors', 'system', 'config'] },
  backup: { imports: ['errors', 'system', 'config', 'releases', 'git'] },
  apps: { imports: ['errors', 'system', 'config', 'protocol', 'releases', 'git'], types: ['edge'] },
  deploy: {
    imports: ['errors', 'system', 'config', 'protocol', 'releases', 'logs', 'build', 'apps'],
    types: ['git'],
  },
  push: {
    imports: ['errors', 'system', 'config', 'releases', 'git', 'apps', 'deploy'],
    types: ['protocol'],
  },
  service: {
    imports: ['errors', 'system', 'config', 'logs', 'apps', 'deploy', 'push'],
    types: ['releases'],
  },
  api: {
    imports: ['errors', 'system', 'config', 'releases', 'logs', 'git', 'edge', 'apps', 'service'],
    types: ['protocol', 'deploy', 'push'],
  },
  server: {
    imports: ['errors', 'system', 'config', 'protocol', 'releases', 'edge', 'apps', 'service', 'api'],
  },
  runner: { imports: ['errors', 'system', 'config', 'protocol', 'logs'] },
  relay: { imports: [] },
  worker: { imports: [], types: ['protocol'] },
  client: { imports: ['errors', 'system', 'config'] },
  import: { imports: ['errors', 'system', 'config', 'build', 'edge'] },
  doctor: {
    imports: ['errors', 'system', 'config', 'client'],
    types: ['releases', 'logs', 'edge', 'apps', 'api'],
  },
  cli: {
    imports: ['errors', 'system', 'config', 'build', 'import', 'backup', 'client', 'doctor'],
    types: ['protocol', 'releases', 'logs', 'edge', 'apps', 'deploy', 'push', 'api'],
  },
};

/** Program that loads everything once, to fill the compile cache. */
const warmer = 'server/warm.ts';

/** Layers that run inside the user's app, which has packages of its own, or are to start at once. */
const withoutPackages = new Set(['worker', 'relay']);

const source = resolve(import.meta.dirname, '../src');
const importPattern =
  /(?:\bfrom\s*|\bimport\s*\(\s*|\brequire\s*\(\s*|^\s*import\s+)(['"])(?<specifier>[^'"]+)\1/gm;

test('every module imports only what its layer may', async () => {
  const faults: string[] = [];
  for (const file of await sourceFiles()) {
    const layer = layerOf(file);
    const allowed = layers[layer];
    assert.ok(allowed, `${file}: there is no layer ${layer} in the table`);
    for (const { specifier, typeOnly } of importsOf(await readFile(join(source, file), 'utf8'))) {
      if (!specifier.startsWith('.')) {
        const isPackage = !specifier.startsWith('node:');
        if (isPackage && withoutPackages.has(layer)) faults.push(`${file} imports the package ${specifier}`);
        continue;
      }
      const target = layerOf(relative(source, resolve(source, dirname(file), specifier)));
      const may = [layer, ...allowed.imports, ...(typeOnly ? (allowed.types ?? []) : [])];
      if (target !== '..' && file !== warmer && !may.includes(target))
        faults.push(`${file} imports ${specifier}`);
    }
  }
  assert.deepEqual(faults, []);
});

test('there is no ring of modules that import each other', async () => {
  const graph = new Map<string, string[]>();
  for (const file of await sourceFiles()) {
    const imports = importsOf(await readFile(join(source, file), 'utf8'));
    const targets = imports
      .filter(({ specifier, typeOnly }) => specifier.startsWith('.') && !typeOnly)
      .map(({ specifier }) => relative(source, resolve(source, dirname(file), specifier)));
    graph.set(file, targets);
  }
  for (const file of graph.keys()) assert.deepEqual(ringThrough(file, graph), []);
});

/** The runner never frees the memory of a module. It loads packages and zlib at their first use. */
test('the runner starts without packages and zlib', async () => {
  const packages = new Set<string>();
  const seen = new Set<string>();
  const walk = async (file: string): Promise<void> => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const { specifier, typeOnly, lazy } of importsOf(await readFile(file, 'utf8'))) {
      if (typeOnly || lazy) continue;
      if (specifier.startsWith('.')) await walk(resolve(dirname(file), specifier));
      else if (!specifier.startsWith('node:') || specifier === 'node:zlib') packages.add(specifier);
    }
  };
  await walk(join(source, 'runner/main.ts'));
  assert.deepEqual([...packages], []);
});

async function sourceFiles(): Promise<string[]> {
  const files = await Array.fromAsync(glob('**/*.{ts,cts,cjs,js}', { cwd: source }));
  assert.ok(files.length > 0);
  return files.sort();
}

/** The first folder of a path in src. */
function layerOf(path: string): string {
  return path.split('/')[0] ?? '';
}

interface Import {
  specifier: string;
  typeOnly: boolean;
  /** a call, and not a statement at the beginning */
  lazy: boolean;
}

function importsOf(text: string): Import[] {
  return [...text.matchAll(importPattern)].map((match) => {
    const before = text.slice(0, match.index);
    // JavaScript names types in comments: `@type {import('…')}`.
    const inComment = before.lastIndexOf('/*') > before.lastIndexOf('*/');
    const statement = before.split(/;|\n(?=import|export)/).at(-1) ?? '';
    const typeOnly = inComment || /\b(?:import|export)\s+type\b/.test(statement);
    return { specifier: match.groups?.['specifier'] ?? '', typeOnly, lazy: match[0].includes('(') };
  });
}

/** The way from a module back to itself, or nothing. */
function ringThrough(start: string, graph: Map<string, string[]>): string[] {
  const seen = new Set<string>();
  const walk = (file: string, way: string[]): string[] => {
    for (const next of graph.get(file) ?? []) {
      if (next === start) return [...way, file, start];
      if (seen.has(next)) continue;
      seen.add(next);
      const ring = walk(next, [...way, file]);
      if (ring.length > 0) return ring;
    }
    return [];
  };
  return walk(start, []);
}
