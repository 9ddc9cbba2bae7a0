/** Half a day away: whatever the time, no resynchronization begins by itself. @param now of the server, ms. */
export function farWindow(now: number = Date.now()) {
  const clock = (hours: number): string => new Date(now + hours * 3_600_000).toISOString().slice(11, 16);
  return { from: clock(12), to: clock(13), timeZone: 'UTC' };
}
