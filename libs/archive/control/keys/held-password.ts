/** How the agency comes by a password that its agent alone has. */
export const fetching = (workloadName: string): string => `mainstay-agent archive password ${workloadName}`;
