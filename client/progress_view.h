// How a job's progress looks on a screen and in a log. Pure: Progress in, text out.
#ifndef ESPALIER_CLIENT_PROGRESS_VIEW_H_
#define ESPALIER_CLIENT_PROGRESS_VIEW_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "espalier/v1/jobs.pb.h"

namespace espalier {

std::string_view PhaseTitle(v1::JobPhase phase);  // "Calibrate"; "" when unspecified
std::string_view StateName(v1::JobState state);   // "running"; "unknown" when unspecified
bool IsFinal(v1::JobState state);                 // succeeded, failed or cancelled

// Whether the message only says what the progress says too: one comes with every generation.
bool RepeatsProgress(const v1::JobEvent& event);

struct ViewOptions {
  int64_t width = 80;   // columns of the terminal
  bool colour = false;  // ANSI colours; they do not count as columns
};

// done / total in [0, 1]; 0 while the total is not known.
double Fraction(const v1::Progress& progress);

// `width` columns, e.g. "[=====>    ]". Requires width >= 3.
std::string RenderBar(double fraction, int64_t width);

// The live line of a terminal: phase, bar, units, rate, time to go, best perplexity and its ratio,
// or what the job waits for. Never wider than options.width: the bar shrinks first, then fields
// disappear from the right. No newline.
std::string RenderProgressLine(const v1::Progress& progress, const ViewOptions& options);

enum class PhaseOutcome { kDone, kStopped };

// What stays of a phase after `seconds`, given its last progress. No newline.
std::string RenderFinishedPhase(const v1::Progress& last, double seconds, PhaseOutcome outcome,
                                const ViewOptions& options);

// The same as RenderProgressLine for a log: no bar, any width.
std::string RenderPlainLine(const v1::Progress& progress);

}  // namespace espalier

#endif  // ESPALIER_CLIENT_PROGRESS_VIEW_H_
