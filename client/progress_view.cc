#include "client/progress_view.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/format.h"

namespace espalier {
namespace {

constexpr int64_t kTitleWidth = 10;  // of the longest title, "Initialize"
constexpr int64_t kMinBar = 10;
constexpr int64_t kMaxBar = 40;
constexpr char kGap[] = "  ";

std::string Coloured(const std::string& text, const char* code, bool colour) {
  if (!colour) return text;
  return absl::StrCat("\x1b[", code, "m", text, "\x1b[0m");
}

std::string Title(v1::JobPhase phase) {
  std::string title(phase == v1::JOB_PHASE_UNSPECIFIED ? "Queued" : PhaseTitle(phase));
  title.resize(kTitleWidth, ' ');
  return title;
}

bool IsPercent(const v1::Progress& progress) { return progress.unit() == "percent"; }

// "8 layers", "1 layer": units are plural in messages.
std::string Quantity(int64_t count, const std::string& unit) {
  std::string name = Printable(unit);
  if (count == 1 && name.ends_with('s')) name.pop_back();
  return absl::StrCat(FormatCount(count), " ", name);
}

// "12/40 sequences", "12 sequences" when the total is not known, "30%", "" when nothing is counted.
std::string Units(const v1::Progress& progress) {
  if (IsPercent(progress)) return absl::StrCat(progress.done(), "%");
  if (progress.total() > 0) {
    return absl::StrCat(FormatCount(progress.done()), "/", FormatCount(progress.total()), " ",
                        Printable(progress.unit()));
  }
  if (progress.done() == 0) return "";
  return Quantity(progress.done(), progress.unit());
}

std::string BestSoFar(const v1::Progress& progress) {
  if (progress.best_perplexity() == 0) return "";
  std::string text = absl::StrCat("best ppl ", FormatPerplexity(progress.best_perplexity()));
  if (progress.ratio() > 0) absl::StrAppend(&text, " at ", FormatPercent(progress.ratio()));
  return text;
}

// The fields behind the bar, the most important first. `percent`: percentages are shown anyway.
std::vector<std::string> Fields(const v1::Progress& progress, bool percent) {
  std::vector<std::string> fields;
  const auto add = [&fields](std::string field) {
    if (!field.empty()) fields.push_back(std::move(field));
  };
  if (!(percent && IsPercent(progress))) add(Units(progress));
  if (!progress.waiting_for().empty()) {
    add(absl::StrCat("waiting for ", Printable(progress.waiting_for())));
    return fields;
  }
  if (progress.eta_seconds() > 0) add(absl::StrCat("ETA ", FormatDuration(progress.eta_seconds())));
  add(BestSoFar(progress));
  if (progress.units_per_second() > 0) {
    const char* unit = IsPercent(progress) ? "%/s" : "/s";
    add(absl::StrCat(FormatRate(progress.units_per_second()), unit));
  }
  if (progress.generation() > 0) add(absl::StrCat("generation ", progress.generation()));
  if (progress.sizes() > 1) {
    add(absl::StrCat("size ", progress.size(), " of ", progress.sizes()));
  }
  return fields;
}

// As many of the fields as fit into `width` columns; the first one is cut rather than left out
// where something readable remains of it.
std::string JoinFitting(const std::vector<std::string>& fields, int64_t width) {
  std::string joined;
  for (const std::string& field : fields) {
    const std::string longer = joined.empty() ? field : absl::StrCat(joined, kGap, field);
    if (DisplayWidth(longer) > width) {
      return joined.empty() && width >= kMinBar ? Truncate(field, width) : joined;
    }
    joined = longer;
  }
  return joined;
}

}  // namespace

std::string_view PhaseTitle(v1::JobPhase phase) {
  switch (phase) {
    case v1::JOB_PHASE_LOAD:
      return "Load";
    case v1::JOB_PHASE_CALIBRATE:
      return "Calibrate";
    case v1::JOB_PHASE_INITIALIZE:
      return "Initialize";
    case v1::JOB_PHASE_SEARCH:
      return "Search";
    case v1::JOB_PHASE_REFORM:
      return "Reform";
    case v1::JOB_PHASE_EVALUATE:
      return "Evaluate";
    case v1::JOB_PHASE_EXPORT:
      return "Export";
    default:
      return "";
  }
}

std::string_view StateName(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_QUEUED:
      return "queued";
    case v1::JOB_STATE_RUNNING:
      return "running";
    case v1::JOB_STATE_PAUSED:
      return "paused";
    case v1::JOB_STATE_SUCCEEDED:
      return "succeeded";
    case v1::JOB_STATE_FAILED:
      return "failed";
    case v1::JOB_STATE_CANCELLED:
      return "cancelled";
    default:
      return "unknown";
  }
}

bool RepeatsProgress(const v1::JobEvent& event) {
  return event.progress().phase() == v1::JOB_PHASE_SEARCH &&
         event.message().rfind("generation ", 0) == 0;
}

bool IsFinal(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED ||
         state == v1::JOB_STATE_CANCELLED;
}

double Fraction(const v1::Progress& progress) {
  if (progress.total() <= 0) return 0;
  return std::clamp(static_cast<double>(progress.done()) / progress.total(), 0.0, 1.0);
}

std::string RenderBar(double fraction, int64_t width) {
  const int64_t inner = width - 2;
  const int64_t filled = std::clamp<int64_t>(std::llround(fraction * inner), 0, inner);
  std::string bar(filled, '=');
  if (filled > 0 && filled < inner) bar.back() = '>';
  bar.resize(inner, ' ');
  return absl::StrCat("[", bar, "]");
}

std::string RenderProgressLine(const v1::Progress& progress, const ViewOptions& options) {
  const std::vector<std::string> fields = Fields(progress, progress.total() > 0);
  const std::string percent =
      progress.total() > 0 ? absl::StrCat(std::llround(std::floor(100 * Fraction(progress))), "%")
                           : "";
  const int64_t fixed = kTitleWidth + 1;
  const int64_t all_fields = DisplayWidth(absl::StrJoin(fields, kGap));
  int64_t bar_width = 0;
  if (progress.total() > 0) {
    // One column for the gap, four for the percentage.
    bar_width = std::clamp(options.width - fixed - 5 - 2 - all_fields, kMinBar, kMaxBar);
  }
  std::string middle;
  if (bar_width > 0) {
    middle = absl::StrCat(RenderBar(Fraction(progress), bar_width), " ",
                          std::string(4 - percent.size(), ' '), percent, kGap);
  }
  const int64_t room = options.width - fixed - DisplayWidth(middle);
  if (room < 0) return Truncate(absl::StrCat(Title(progress.phase()), " ", percent), options.width);
  return absl::StrCat(Coloured(Title(progress.phase()), "1", options.colour), " ", middle,
                      JoinFitting(fields, room));
}

std::string RenderFinishedPhase(const v1::Progress& last, double seconds, PhaseOutcome outcome,
                                const ViewOptions& options) {
  const bool done = outcome == PhaseOutcome::kDone;
  const std::string word = done ? "done in" : "stopped after";
  std::vector<std::string> fields;
  const bool all = done && last.total() > 0;
  if ((last.total() > 0 || last.done() > 0) && !(all && IsPercent(last))) {
    fields.push_back(all ? Quantity(last.total(), last.unit()) : Units(last));
  }
  if (const std::string best = BestSoFar(last); !best.empty()) fields.push_back(best);
  const std::string head = absl::StrCat(word, " ", FormatDuration(seconds), kGap);
  const int64_t room = options.width - kTitleWidth - 1 - DisplayWidth(head);
  std::string line =
      absl::StrCat(Title(last.phase()), " ", head, JoinFitting(fields, std::max<int64_t>(room, 0)));
  line = Truncate(line, options.width);
  line.erase(line.find_last_not_of(' ') + 1);
  return Coloured(line, done ? "32" : "33", options.colour);
}

std::string RenderPlainLine(const v1::Progress& progress) {
  const std::vector<std::string> fields = Fields(progress, false);
  std::string line(progress.phase() == v1::JOB_PHASE_UNSPECIFIED ? "Queued"
                                                                 : PhaseTitle(progress.phase()));
  if (fields.empty()) return line;
  return absl::StrCat(line, ": ", absl::StrJoin(fields, ", "));
}

}  // namespace espalier
