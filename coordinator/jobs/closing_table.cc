#include "coordinator/jobs/closing_table.h"

#include <utility>

#include "common/status_macros.h"

namespace espalier {

ClosingTable::ClosingTable(const PreparedJob& job)
    : job_(job), repair_(job.spec.repair()), held_out_(!job.spec.eval_text.path.empty()) {}

void ClosingTable::TakeDense(const ClosingTable& other) {
  rows_[Index(Row::kDense)] = other.rows_[Index(Row::kDense)];
}

void ClosingTable::SetSubnet(Row row, std::shared_ptr<const Subnet> subnet,
                             double search_perplexity) {
  rows_[Index(row)].subnet = std::move(subnet);
  rows_[Index(row)].search_perplexity = search_perplexity;
}

std::vector<WorkItem> ClosingTable::ReformationItems() {
  std::vector<WorkItem> items;
  AddItems(Row::kReformed, /*on_search=*/true, items);
  if (!job_.spec.fitness_is_perplexity()) {
    AddItems(Row::kSearched, /*on_search=*/true, items);
  }
  return items;
}

std::vector<WorkItem> ClosingTable::EvaluationItems(Row result) {
  std::vector<WorkItem> items;
  // First, because only a worker with the statistics should take them; the others go on below.
  if (result != Row::kSearched) AddItems(result, /*on_search=*/!held_out_, items);
  for (const Row row : {Row::kDense, Row::kInitial, Row::kSearched}) {
    AddItems(row, /*on_search=*/!held_out_, items);
  }
  if (held_out_) AddItems(Row::kDense, /*on_search=*/true, items);
  return items;
}

void ClosingTable::AddItems(Row row, bool on_search, std::vector<WorkItem>& items) {
  const DataSetInfo& data_set = on_search ? job_.search : job_.eval;
  RowState& state = rows_[Index(row)];
  Losses& losses = on_search ? state.search : state.eval;
  if (losses.Measured()) return;
  losses = Losses(data_set);
  for (const Losses::Range& range : losses.Ranges()) {
    EvaluateWork work;
    work.subnet = state.subnet;
    work.data_set = data_set.hash;
    work.first = range.first;
    work.count = range.count;
    if (row != Row::kDense) {
      work.reformation = row == Row::kReformed ? job_.spec.reformation : repair_;
      if (work.reformation.method != ReformationMethod::kNone) {
        work.calibration = job_.calibration.hash;
      }
    }
    const bool needs_calibration = !work.calibration.empty();
    items.push_back({.work = std::move(work),
                     .index = static_cast<int64_t>(Index(row)) * 2 + (on_search ? 1 : 0),
                     .units = range.count,
                     .needs_calibration = needs_calibration,
                     .needs_reformed = row == Row::kReformed && IsProgressive(job_.spec)});
  }
}

absl::Status ClosingTable::Add(const WorkItem& item, const EvaluateResult& result, double seconds) {
  const auto& work = std::get<EvaluateWork>(item.work);
  const bool on_search = item.index % 2 == 1;
  ESPALIER_RETURN_IF_ERROR(
      CheckEvaluation(result, work, (on_search ? job_.search : job_.eval).sequence_length));
  RowState& row = rows_[item.index / 2];
  Losses& losses = on_search ? row.search : row.eval;
  losses.Add(work.first, result, seconds);
  if (on_search && losses.Complete()) row.search_perplexity = losses.Perplexity();
  return absl::OkStatus();
}

MeasurementView ClosingTable::View(Row row) const {
  const RowState& state = rows_[Index(row)];
  const Subnet subnet = state.subnet ? *state.subnet : Subnet::Dense(job_.config);
  const Losses& losses = held_out_ ? state.eval : state.search;
  return {.parameters = CountParameters(subnet, job_.config),
          .ratio = ParameterRatio(subnet, job_.config),
          .perplexity = losses.Perplexity(),
          .search_perplexity = state.search_perplexity,
          .tokens_per_second = losses.TokensPerSecond()};
}

}  // namespace espalier
