#include <string>

#include "absl/status/statusor.h"
#include "common/status_macros.h"
#include "coordinator/service/journal_messages.h"
#include "fuzz/check.h"
#include "fuzz/targets.h"

namespace espalier::fuzz {
namespace {

constexpr int64_t kStart = 1'700'000'000'000;

absl::Status CheckEntry(const std::string& bytes) {
  const absl::StatusOr<JournalEntry> entry = JournalFromBytes(bytes, kStart);
  if (!entry.ok()) return Require(absl::IsDataLoss(entry.status()), "damage is called that");
  const std::string written = JournalBytes(*entry, kStart);
  const absl::StatusOr<JournalEntry> again = JournalFromBytes(written, kStart);
  if (!again.ok()) return again.status();
  return Require(
      again->fact.index() == entry->fact.index() && JournalBytes(*again, kStart) == written,
      "a written entry reads back the same");
}

}  // namespace

// What a file of the store may hold: an entry of the journal, a last event, a specification.
absl::Status Journal(std::string_view input) {
  const std::string bytes(input);
  ESPALIER_RETURN_IF_ERROR(CheckEntry(bytes));
  StoredJobRow row;
  row.job.spec = "{}";
  row.last_event = bytes;
  ESPALIER_RETURN_IF_ERROR(
      Require(!StoredJobFromRow(row, kStart).ok() || !FinishedJobFromRow(row, kStart).ok(),
              "no job is finished and unfinished at once"));
  row.last_event.clear();
  row.facts = {bytes};
  const absl::StatusOr<StoredJob> job = StoredJobFromRow(row, kStart);
  return Require(job.ok() == JournalFromBytes(bytes, kStart).ok(),
                 "a damaged entry makes a damaged journal");
}

}  // namespace espalier::fuzz
