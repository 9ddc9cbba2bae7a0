import type { TestContext } from 'vitest';
import { guestImage, type GuestImage } from '../../client/demo/guest/guest-image.js';

/** Skips the running test where it can't be made; where readers are required that is a failure. */
export async function requireGuestImage(context: Pick<TestContext, 'skip'>): Promise<GuestImage> {
  const image = await guestImage();
  if (typeof image !== 'string') return image;
  if (process.env['FARSHORE_REQUIRE_READERS']) throw new Error(`no guest can be made here: ${image}`);
  return context.skip(`no guest can be made here: ${image}`) as never;
}
