// What is measured of an archive `a` beside its site's own words, as conditions in SQL: its view, the look at what nobody
// tells of, and the figures mean the same by each.

/** An agent whose link has been down for so long is silent. */
const SILENT = "interval '1 hour'";

/** By when a run should have left a recovery point: two periods after the last one that did, or since it is expected. */
export const LATE = `NOT a.paused AND a.state IN ('preparing', 'active', 'failed')
  AND greatest(a.completed_at, a.expected_since) < now() - make_interval(secs => 2 * a.period_seconds)`;

/**
 * Of the row `link` of agent_site: the agent's link with the archive's site has been down, while the site itself is heard: a
 * site that is silent tells nothing. Nothing is expected of a paused one's.
 */
export const LINK_DOWN = `link.tenant_id = a.tenant_id AND link.agent_id = a.agent_id AND link.site_id = a.site_id
  AND NOT a.paused AND a.state IN ('preparing', 'active', 'failed')
  AND link.connected_since IS NULL AND coalesce(link.seen_at, a.created_at) < now() - ${SILENT}
  AND EXISTS (SELECT FROM site_state s WHERE s.site_id = a.site_id AND s.received_at > now() - interval '1 minute')`;
export const AGENT_GONE = `EXISTS (SELECT FROM agent_site link WHERE ${LINK_DOWN})`;

/** A recovery point that should be at the second site by now, and is not. */
export const COPY_BEHIND = `a.second_site_id IS NOT NULL AND EXISTS (
  SELECT FROM recovery_point p WHERE p.tenant_id = a.tenant_id AND p.archive_id = a.id AND p.forgotten_at IS NULL
     AND p.received_at < now() - greatest(make_interval(secs => 2 * a.period_seconds), interval '1 hour')
     AND p.received_at > coalesce((a.copy->>'completeUntil')::timestamptz, '-infinity'))`;

/** Of the newest recovery point that was judged by a proof, and all parts of its run, one did not come out right. */
export const PROOF_FAILED = `EXISTS (
  SELECT FROM (SELECT p.id, p.run_id FROM recovery_point p
                WHERE p.tenant_id = a.tenant_id AND p.archive_id = a.id AND p.forgotten_at IS NULL
                  AND p.proof->>'state' IN ('proven', 'failed') ORDER BY p.received_at DESC, p.id DESC LIMIT 1) newest
    JOIN recovery_point p ON p.tenant_id = a.tenant_id AND p.archive_id = a.id AND p.forgotten_at IS NULL
     AND (p.id = newest.id OR p.run_id = newest.run_id) AND p.proof->>'state' = 'failed')`;
