-- audit.db: what an audit recorded. Times are nanoseconds since 1970 in UTC; addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d.
-- The agent on a node writes it; reports read it. Verdicts are not in it: they are computed for any revision of the policies.

CREATE TABLE meta (
  key TEXT PRIMARY KEY,           -- schema, tool_version, node, cluster (digest of the snapshot), wanted_seconds, created, leads (when this agent led), ...
  value TEXT NOT NULL
) WITHOUT ROWID;

-- One run of an agent on one boot of the node. A restart on the same boot that finds its pinned tables continues a segment.
CREATE TABLE segment (
  id INTEGER PRIMARY KEY,
  boot_id TEXT NOT NULL,
  layout TEXT NOT NULL,           -- migrate.audit.layout.LAYOUT
  kernel TEXT NOT NULL,
  loader TEXT NOT NULL,           -- libbpf | bcc; of what was imported: the program that told it
  attach TEXT NOT NULL,           -- tcx | clsact | import
  started INTEGER NOT NULL,
  ended INTEGER,                  -- null: running, or it died
  notes TEXT NOT NULL DEFAULT '[]', -- JSON list: what was not available (conntrack kfunc, drop reasons, ...)
  node TEXT NOT NULL DEFAULT ''   -- in a file that was merged of several: whose it is; empty: the one of meta
);

-- One life of a watched veth. Coverage of a pod is the watched part of its life.
CREATE TABLE veth (
  id INTEGER PRIMARY KEY,
  segment INTEGER NOT NULL REFERENCES segment,
  ifindex INTEGER NOT NULL,
  name TEXT NOT NULL,
  namespace TEXT,                 -- of the pod; null: not known
  pod TEXT,
  uid TEXT,
  found_by TEXT,                  -- route | peer | learned | import (not watched: another program told of it)
  appeared INTEGER NOT NULL,      -- when the interface came up, as far as known
  since INTEGER NOT NULL,         -- both hooks attached
  until INTEGER                   -- interface gone or audit ended; null: running
);

-- Time in which a watched veth was not seen: a foreign program in front, hooks removed, agent away without pinned links.
CREATE TABLE gap (
  veth INTEGER NOT NULL REFERENCES veth,
  since INTEGER NOT NULL,
  until INTEGER,
  reason TEXT NOT NULL
);

-- Flow records, summed over each hour. A row with events 0 only has replies.
CREATE TABLE flow (
  veth INTEGER NOT NULL REFERENCES veth,
  hour INTEGER NOT NULL,          -- hours since 1970
  direction INTEGER NOT NULL,     -- 0 from the pod, 1 to the pod
  kind INTEGER NOT NULL,          -- 0 new, 1 mid-stream, 3 ICMP error
  coarse INTEGER NOT NULL,        -- 0 exact; 1 table full: far end cut to /16, IPv6 /32, port 0; 2 store full: likewise
  source BLOB NOT NULL,
  destination BLOB NOT NULL,
  protocol INTEGER NOT NULL,
  port INTEGER NOT NULL,          -- the responder's; ICMP: type << 8 | code
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  events INTEGER NOT NULL,
  octets INTEGER NOT NULL,
  answered INTEGER NOT NULL,
  refused INTEGER NOT NULL,
  retransmitted INTEGER NOT NULL,
  source_port INTEGER NOT NULL,   -- the initiator's last one
  revision INTEGER NOT NULL DEFAULT 0, -- meta's revision when it was last written; 0 in files that were merged
  PRIMARY KEY (veth, hour, direction, kind, coarse, source, destination, protocol, port)
) WITHOUT ROWID;

-- Where the kernel's address translation was asked: the true ends of a record with a Service or node address.
CREATE TABLE translated (
  veth INTEGER NOT NULL REFERENCES veth,
  source BLOB NOT NULL,           -- as recorded
  destination BLOB NOT NULL,
  protocol INTEGER NOT NULL,
  port INTEGER NOT NULL,
  original_source BLOB NOT NULL,
  original_destination BLOB NOT NULL,
  original_port INTEGER NOT NULL,
  backend BLOB,                   -- the backend behind a Service's address, seen from the client
  backend_port INTEGER,
  times INTEGER NOT NULL,
  revision INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (veth, source, destination, protocol, port, original_source, original_destination, original_port, backend)
);

-- Packets that the old engine dropped (netfilter), by flow.
CREATE TABLE dropped (
  veth INTEGER NOT NULL REFERENCES veth,
  hour INTEGER NOT NULL,
  source BLOB NOT NULL,
  destination BLOB NOT NULL,
  protocol INTEGER NOT NULL,
  port INTEGER NOT NULL,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  events INTEGER NOT NULL,
  revision INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (veth, hour, source, destination, protocol, port)
) WITHOUT ROWID;

-- Drained epochs. The row is written in the transaction of the epoch's flows, so that none is counted twice.
CREATE TABLE epoch (
  segment INTEGER NOT NULL REFERENCES segment,
  sequence INTEGER NOT NULL,
  ended INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  events INTEGER NOT NULL,        -- in rows of the flow tables
  coarse_events INTEGER NOT NULL,
  PRIMARY KEY (segment, sequence)
) WITHOUT ROWID;

-- The kernel's counters at the last epoch of a segment: rows + coarse + lost = new.
CREATE TABLE counter (
  segment INTEGER NOT NULL REFERENCES segment,
  name TEXT NOT NULL,             -- migrate.audit.layout.Counter
  value INTEGER NOT NULL,         -- since the segment began
  base INTEGER NOT NULL,          -- what the kernel's counter was then
  PRIMARY KEY (segment, name)
) WITHOUT ROWID;

-- Tables of the kernel that are one for all epochs, whose rows only grow: what was in them at the last epoch, as bytes.
CREATE TABLE seen (
  segment INTEGER NOT NULL REFERENCES segment,
  source TEXT NOT NULL,           -- coarse | translations | drops
  key BLOB NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (segment, source, key)
) WITHOUT ROWID;

-- Everything that was not kept or not seen, counted; summed over each hour.
CREATE TABLE loss (
  segment INTEGER NOT NULL REFERENCES segment,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,             -- store-coarse | disk-full | clock-jump | agent-died | replies-lost | translations-lost | drops-lost | ...
  count INTEGER NOT NULL,
  detail TEXT NOT NULL
);

-- Who had an address, and when. Two owners in the interval of a record: it is judged for both.
CREATE TABLE owner (
  address BLOB NOT NULL,
  kind TEXT NOT NULL,             -- pod | node | service
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  uid TEXT NOT NULL,
  since INTEGER NOT NULL,         -- 0: since before the audit
  until INTEGER,                  -- null: still
  PRIMARY KEY (address, kind, namespace, name, uid, since)
);

-- Connections that stood when the audit began and ended (conntrack).
CREATE TABLE connection (
  segment INTEGER NOT NULL REFERENCES segment,
  moment TEXT NOT NULL,           -- start | attach (a pod that was new then) | end
  protocol INTEGER NOT NULL,
  source BLOB NOT NULL,
  source_port INTEGER NOT NULL,
  destination BLOB NOT NULL,
  port INTEGER NOT NULL,
  backend BLOB NOT NULL,          -- destination after translation
  backend_port INTEGER NOT NULL,
  client BLOB NOT NULL            -- source as the backend sees it
);

-- What stood behind a port of a Service, and when, as one agent of a cluster was told.
CREATE TABLE backend (
  namespace TEXT NOT NULL,
  service TEXT NOT NULL,
  address BLOB NOT NULL,          -- the Service's; 0.0.0.0 or ::: any node's, for a node port
  protocol INTEGER NOT NULL,
  port INTEGER NOT NULL,          -- the Service's
  target BLOB NOT NULL,           -- address of the backend
  target_port INTEGER NOT NULL,
  since INTEGER NOT NULL,         -- 0: since before the audit
  until INTEGER,                  -- null: still
  PRIMARY KEY (namespace, service, address, protocol, port, target, target_port, since)
);

-- Meta's revision when a row of a table without such a column was last written; kept by its writer's connection.
CREATE TABLE written (
  part TEXT NOT NULL,             -- the table; migrate.audit.revisions.ROW_OF
  row INTEGER NOT NULL,           -- its rowid; of an epoch: segment << 32 | sequence
  revision INTEGER NOT NULL,
  PRIMARY KEY (part, row)
) WITHOUT ROWID;

-- In a file that was merged of several: every node of the cluster, also those that were not watched.
CREATE TABLE node (
  name TEXT PRIMARY KEY,
  state TEXT NOT NULL,            -- watched | not_watched
  reason TEXT NOT NULL,           -- why not, or why not all of it
  tool_version TEXT NOT NULL,
  skew INTEGER NOT NULL           -- the node's clock less that of who read it, in nanoseconds
) WITHOUT ROWID;
