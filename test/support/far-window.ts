/** Time of the day in so many hours, in UTC. */
const clock = (hours: number): string => new Date(Date.now() + hours * 3_600_000).toISOString().slice(11, 16);

/** Half a day away: whatever the time, no resynchronization begins by itself. */
export const farWindow = () => ({ from: clock(12), to: clock(13), timeZone: 'UTC' });
