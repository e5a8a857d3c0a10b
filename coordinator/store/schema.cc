#include "coordinator/store/schema.h"

#include <SQLiteCpp/Transaction.h>

#include <iterator>

#include "absl/strings/str_cat.h"

namespace espalier {

absl::Status Migrate(SQLite::Database& database, const std::string& file) {
  const int newest = static_cast<int>(std::size(kMigrations));
  SQLite::Transaction transaction(database);
  const int version = database.execAndGet("PRAGMA user_version").getInt();
  if (version > newest) {
    return absl::FailedPreconditionError(absl::StrCat(
        file, " was written by a newer version of espalier-coordinator (schema ", version,
        ", this one knows ", newest, "); install that version, or choose another --state"));
  }
  if (version == newest) return absl::OkStatus();
  for (int i = version; i < newest; ++i) database.exec(kMigrations[i]);
  database.exec(absl::StrCat("PRAGMA user_version = ", newest));
  transaction.commit();
  return absl::OkStatus();
}

}  // namespace espalier
