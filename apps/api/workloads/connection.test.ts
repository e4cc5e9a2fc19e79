import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAuthority } from '#libs/link';
import { ControlPlane } from '#test/control-plane';

describe('how clients connect', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  it('shows what signs for the standbys behind the front doors, to clients that check certificates', async () => {
    const { agency, id } = await plane.protectedWorkload();
    const path = `/v1/workloads/${id}`;
    const before = (await plane.api.get(path, agency.apiKey)).body;
    expect(before.connection.rootCertificates).toBeNull();
    expect((await plane.api.get(`${path}/protection`, agency.apiKey)).body.metro.frontDoor.authority).toBeNull();
    const made = await Promise.all([plane.metro, plane.regional].map(({ id: site }) => createAuthority(site)));
    const authorities = made.map(({ certificate }) => certificate);
    for (const [index, site] of [plane.metro, plane.regional].entries()) {
      site.workloads = site.workloads.map((one) =>
        one.workloadId === id ? { ...one, frontDoor: { ...one.frontDoor!, authority: authorities[index]! } } : one,
      );
      site.show();
    }
    const shown = await plane.until(
      `${path}/protection`,
      agency.apiKey,
      ({ metro, regional }) => metro.frontDoor.authority !== null && regional.frontDoor.authority !== null,
    );
    expect([shown.metro, shown.regional].map(({ frontDoor }) => frontDoor.authority)).toEqual(authorities);
    expect((await plane.api.get(path, agency.apiKey)).body.connection.rootCertificates).toBe(authorities.join(''));
  });
});
