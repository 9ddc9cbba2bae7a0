/** A number of things, for display: "1 VM", "2 VMs". */
export const counted = (count: number, thing: string): string => `${count} ${thing}${count === 1 ? '' : 's'}`;
