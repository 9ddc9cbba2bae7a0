/** How long a test VM exists before it is deleted automatically, seconds. */

/** Unless the operator chose another time. */
export const DEFAULT_DRILL_SECONDS = 24 * 3600;
export const SHORTEST_DRILL_SECONDS = 60;
export const LONGEST_DRILL_SECONDS = 14 * 24 * 3600;
