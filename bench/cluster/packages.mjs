// The npm packages of this program, which are those of the committed lock file, in the cache. As a program: installs them.

import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

const HERE = new URL('.', import.meta.url).pathname;
export const CACHE = resolve(process.env.BENCH_DIR ?? new URL('../../.cache/bench', import.meta.url).pathname);
const FOLDER = join(CACHE, 'cluster');

export const load = createRequire(join(FOLDER, 'package.json'));

if (process.argv[1] === new URL(import.meta.url).pathname) install();

function install() {
  const [lock, installed] = [join(HERE, 'package-lock.json'), join(FOLDER, 'installed-lock.json')];
  if (existsSync(installed) && readFileSync(lock, 'utf8') === readFileSync(installed, 'utf8')) return;
  mkdirSync(FOLDER, { recursive: true });
  for (const name of ['package.json', 'package-lock.json']) copyFileSync(join(HERE, name), join(FOLDER, name));
  execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: FOLDER, stdio: ['ignore', 2, 2] });
  copyFileSync(lock, installed);
}
