// The database's schema, and how older ones become it.
#ifndef ESPALIER_COORDINATOR_STORE_SCHEMA_H_
#define ESPALIER_COORDINATOR_STORE_SCHEMA_H_

#include <SQLiteCpp/Database.h>

#include <string>

#include "absl/status/status.h"

namespace espalier {

// Step i brings version i to i + 1. Steps are only ever added.
inline constexpr const char* kMigrations[] = {
    R"(
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY,
  spec BLOB NOT NULL,
  idempotency_key TEXT UNIQUE,
  created_unix_ms INTEGER NOT NULL,
  final INTEGER NOT NULL DEFAULT 0,
  staging BLOB NOT NULL
);
CREATE TABLE facts (
  job INTEGER NOT NULL REFERENCES jobs(id),
  number INTEGER NOT NULL,
  fact BLOB NOT NULL,
  PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE events (
  job INTEGER NOT NULL REFERENCES jobs(id),
  number INTEGER NOT NULL,
  event BLOB NOT NULL,
  PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE lives (life INTEGER PRIMARY KEY AUTOINCREMENT);
)",
    R"(
CREATE TABLE contexts (
  id INTEGER PRIMARY KEY,
  context TEXT NOT NULL UNIQUE
);
CREATE TABLE answers (
  context INTEGER NOT NULL REFERENCES contexts(id),
  subnet TEXT NOT NULL,
  answer BLOB NOT NULL,
  checksum INTEGER NOT NULL,
  PRIMARY KEY (context, subnet)
) WITHOUT ROWID;
CREATE TABLE deleted (last_job INTEGER NOT NULL);
CREATE TABLE commits (number INTEGER NOT NULL);
INSERT INTO commits VALUES (0);
ALTER TABLE jobs ADD COLUMN checksum INTEGER;
ALTER TABLE facts ADD COLUMN checksum INTEGER;
ALTER TABLE events ADD COLUMN checksum INTEGER;
)",
};

// In one transaction. FAILED_PRECONDITION when the database is newer than this program. May throw
// SQLite::Exception. `file` names the database in errors.
absl::Status Migrate(SQLite::Database& database, const std::string& file);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STORE_SCHEMA_H_
