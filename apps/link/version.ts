/** Of this software, for the other end's log. */
export const VERSION = '0.1.0';
