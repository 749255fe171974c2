// Where a server is that Debian has installed.

import { existsSync } from 'node:fs';

/** Its path, also where the path of other users than root does not lead; or its name. */
export function program(name) {
  const path = `/usr/sbin/${name}`;
  return existsSync(path) ? path : name;
}
