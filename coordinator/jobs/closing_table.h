// The four rows of the closing table while they are measured.
#ifndef ESPALIER_COORDINATOR_JOBS_CLOSING_TABLE_H_
#define ESPALIER_COORDINATOR_JOBS_CLOSING_TABLE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "coordinator/jobs/losses.h"
#include "coordinator/jobs/types.h"
#include "coordinator/jobs/work_queue.h"

namespace espalier {

enum class Row { kDense = 0, kInitial = 1, kSearched = 2, kReformed = 3 };

// On held-out text every row is measured there; the dense and the reformed model are also measured
// on the search sequences, where the search knows the others' perplexity already. Without held-out
// text the search sequences are the evaluation text, and one measurement is both.
class ClosingTable {
 public:
  ClosingTable() = default;
  explicit ClosingTable(const PreparedJob& job);

  // What another size's table, which is complete, says of the dense model: not measured again.
  void TakeDense(const ClosingTable& other);
  void SetSubnet(Row row, std::shared_ptr<const Subnet> subnet, double search_perplexity);
  const std::shared_ptr<const Subnet>& subnet(Row row) const { return rows_[Index(row)].subnet; }

  // The reformed model on the search sequences, and the searched one if the search measured
  // divergences only.
  std::vector<WorkItem> ReformationItems();
  // Everything else; `result` is the row of the result's weights, kSearched or kReformed.
  std::vector<WorkItem> EvaluationItems(Row result);

  // The answer to one of the items, by WorkItem::index.
  absl::Status Add(const WorkItem& item, const EvaluateResult& result, double seconds);
  double search_perplexity(Row row) const { return rows_[Index(row)].search_perplexity; }

  // Requires all items answered.
  MeasurementView View(Row row) const;

 private:
  struct RowState {
    std::shared_ptr<const Subnet> subnet;  // null: dense
    double search_perplexity = 0;
    Losses eval;
    Losses search;
  };
  static size_t Index(Row row) { return static_cast<size_t>(row); }
  void AddItems(Row row, bool on_search, std::vector<WorkItem>& items);

  PreparedJob job_;
  ReformationSpec repair_;  // of all rows between the dense and the reformed one
  bool held_out_ = false;
  std::array<RowState, 4> rows_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_CLOSING_TABLE_H_
