BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'converge','m001_append_only_tables','2026-10-31 12:00:00.000000+00:00');
CREATE TABLE entries (
        run_id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        kind TEXT NOT NULL,
        body TEXT NOT NULL,
        leaf_hash BLOB NOT NULL CHECK (length(leaf_hash) = 32),
        recorded_at TEXT NOT NULL,
        root BLOB CHECK (length(root) = 32),
        PRIMARY KEY (run_id, seq)
    ) STRICT, WITHOUT ROWID
    ;
INSERT INTO "entries" VALUES('run',0,'run_started','{"budget":{"max_cost_microusd":null,"max_cycles":100,"max_facts":10000,"max_suggestors_per_cycle":null,"max_tokens":null,"time_limit_ms":null},"format":1,"gates":{"conflict":"stop","detectors":[],"flow":null,"hitl":null,"policy":{"max_payload_bytes":1048576,"required_checks":[]},"scope":[]},"invariants":[],"kind":"run_started","run_id":"run","suggestors":[{"name":"talker","version":"1"}]}',X'FB669960E5BA03168E6CE62075237C0854DABCA7BA7E4FDA3CB4855D7E639B18','2026-10-31T12:00:03.000Z',X'FB669960E5BA03168E6CE62075237C0854DABCA7BA7E4FDA3CB4855D7E639B18');
INSERT INTO "entries" VALUES('run',1,'effect_received','{"cycle":1,"kind":"effect_received","proposals":[{"confidence":1,"id":"f0","key":"seeds","payload":{"body":{"text":"f0"},"family":"converge.text","version":1},"provenance":"talker"},{"confidence":1,"id":"f1","key":"seeds","payload":{"body":{"text":"f1"},"family":"converge.text","version":1},"provenance":"talker"}],"suggestor":"talker"}',X'B4E7D68EF3FF08DA8F76941105B74EC02D2CF83A08FA6222FF6F06946DCD7A86','2026-10-31T12:00:04.000Z',NULL);
INSERT INTO "entries" VALUES('run',2,'fact_promoted','{"approver":"system:converge-engine","authority":"policy","cycle":1,"gate":"engine-promotion","id":"f0","key":"seeds","kind":"fact_promoted","lamport":1,"policy":"8bb84e18402cf2c78fd2dd9fc5f04f64ae68729e79ed0128b069d9c7946a130a","proposal":"066e41579143cccdd21a4aedb9fcd2899cbcf68e40a14e79ac7634eb503a66c9","proposer":"talker"}',X'1218A874AD9A1047A89A5948D664323AE00C4EFA7A7CA75C6BA37CFCF082782E','2026-10-31T12:00:04.000Z',NULL);
INSERT INTO "entries" VALUES('run',3,'fact_promoted','{"approver":"system:converge-engine","authority":"policy","cycle":1,"gate":"engine-promotion","id":"f1","key":"seeds","kind":"fact_promoted","lamport":2,"policy":"8bb84e18402cf2c78fd2dd9fc5f04f64ae68729e79ed0128b069d9c7946a130a","proposal":"ccc986c424dcd2a157bb0e347c73b3f0a7dd853a3276c5f5862e887509032b0c","proposer":"talker"}',X'850BC4BC0CE263F17B13B7E503AFDF3215C9F0ED5345230532EAD8289C4834B9','2026-10-31T12:00:04.000Z',X'18C1B39EC9F49626A0C4BED7E615D77F28504D11DC0016593AFAE581380490F3');
INSERT INTO "entries" VALUES('run',4,'effect_received','{"cycle":2,"kind":"effect_received","proposals":[{"confidence":1,"id":"f2","key":"seeds","payload":{"body":{"text":"f2"},"family":"converge.text","version":1},"provenance":"talker"},{"confidence":1,"id":"f3","key":"seeds","payload":{"body":{"text":"f3"},"family":"converge.text","version":1},"provenance":"talker"}],"suggestor":"talker"}',X'B23A1167493E1337DC0B1F047889ABE11E3D15D214AC93F7C0F2F2450CD0AB07','2026-10-31T12:00:05.000Z',NULL);
INSERT INTO "entries" VALUES('run',5,'fact_promoted','{"approver":"system:converge-engine","authority":"policy","cycle":2,"gate":"engine-promotion","id":"f2","key":"seeds","kind":"fact_promoted","lamport":3,"policy":"8bb84e18402cf2c78fd2dd9fc5f04f64ae68729e79ed0128b069d9c7946a130a","proposal":"31d5010b6f9cc5c61e6a2cc991f2f003dae992310d0bab179f6942b8e994ac31","proposer":"talker"}',X'DFB3ECD3CE0CE2C5FD72F5403CF533265BEF2B3063175046B1A3543842A99AAC','2026-10-31T12:00:05.000Z',NULL);
INSERT INTO "entries" VALUES('run',6,'fact_promoted','{"approver":"system:converge-engine","authority":"policy","cycle":2,"gate":"engine-promotion","id":"f3","key":"seeds","kind":"fact_promoted","lamport":4,"policy":"8bb84e18402cf2c78fd2dd9fc5f04f64ae68729e79ed0128b069d9c7946a130a","proposal":"8adfa175cdf315f431b55ee4ef9ec2630501ca3ab18c3e340871efaaa40d2205","proposer":"talker"}',X'BA20C820AF31558BBF4A5C2191ADCA176C330D187FD158FC21351A3B31E457A5','2026-10-31T12:00:05.000Z',NULL);
INSERT INTO "entries" VALUES('run',7,'run_stopped','{"cycles":3,"facts":4,"held":0,"kind":"run_stopped","merkle_root":"a8b14198b0020409c1ef7cb189ee476cd9ef0e02a6c2e48593cbe1d740c8ec9b","stop":{"reason":"converged"},"usage":{}}',X'A5359BAFC0F959AF3F160536B9641B4941BD82AE6739041916CFBD881F4788ED','2026-10-31T12:00:05.000Z',X'DE9416C6FBC3E9879F85B2EC2316280C91F93404712B209A76381C385B3D524F');
INSERT INTO "entries" VALUES('zoo',0,'note','{"content":0,"kind":"note"}',X'73F8D39FD929FB35225C341C5E5C994534E30359D7D0BCE72504FBB5B09F72E2','2026-10-31T12:00:01.000Z',NULL);
INSERT INTO "entries" VALUES('zoo',1,'note','{"content":1,"kind":"note"}',X'2AE9783BB15A039193C86CB738059CCDB971C2DAD27E92B2E3C659C1DAE56E6C','2026-10-31T12:00:01.000Z',X'A1E762DED792794986B03A48C9E74AA895A4875896D7B1B26FBF2682F58D8C47');
INSERT INTO "entries" VALUES('zoo',2,'note','{"content":2,"kind":"note"}',X'FA2B8E0D860202E7A272AFD1CAD35F69862011F72849227D7DC5F200F6AFF907','2026-10-31T12:00:07.000Z',X'455447CA4F0860ED090090C23D8B4B2AA202E37CBA5489DABCBFBD0C974BAD7B');
CREATE TABLE journal (
        run_id TEXT NOT NULL,
        cycle INTEGER NOT NULL,
        suggestor TEXT NOT NULL,
        body TEXT NOT NULL,
        recorded_at TEXT NOT NULL,
        PRIMARY KEY (run_id, cycle, suggestor)
    ) STRICT, WITHOUT ROWID
    ;
INSERT INTO "journal" VALUES('zoo',1,'ask','{"said":"déjà vu"}','2026-10-31T12:00:06.000Z');
CREATE TABLE runs (
        run_id TEXT NOT NULL PRIMARY KEY,
        created_at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    ;
INSERT INTO "runs" VALUES('empty','2026-10-31T12:00:08.000Z');
INSERT INTO "runs" VALUES('run','2026-10-31T12:00:02.000Z');
INSERT INTO "runs" VALUES('zoo','2026-10-31T12:00:00.000Z');
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE TRIGGER runs_update BEFORE UPDATE ON runs  BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER runs_delete BEFORE DELETE ON runs  BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER runs_insert BEFORE INSERT ON runs WHEN NOT (NOT EXISTS (SELECT 1 FROM runs WHERE run_id = NEW.run_id)) BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER entries_update BEFORE UPDATE ON entries  BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER entries_delete BEFORE DELETE ON entries  BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER entries_insert BEFORE INSERT ON entries WHEN NOT (NEW.seq = (SELECT coalesce(max(seq) + 1, 0) FROM entries WHERE run_id = NEW.run_id)) BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER journal_update BEFORE UPDATE ON journal  BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER journal_delete BEFORE DELETE ON journal  BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER journal_insert BEFORE INSERT ON journal WHEN NOT (NOT EXISTS (SELECT 1 FROM journal WHERE (run_id, cycle, suggestor) = (NEW.run_id, NEW.cycle, NEW.suggestor))) BEGIN SELECT RAISE(ABORT, 'append-only'); END;
COMMIT;
