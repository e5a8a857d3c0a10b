// Losses of subnets that were evaluated before, for any job on the same model, text and settings:
// nobody evaluates them again.
//
// Kept in memory only while a job is there that can use them; the store has them all. An answer is
// what it was whoever gave it: on CPUs the same, bit for bit; where devices round differently, the
// first one counts for all.
#ifndef ESPALIER_COORDINATOR_JOBS_ANSWER_BOOK_H_
#define ESPALIER_COORDINATOR_JOBS_ANSWER_BOOK_H_

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "coordinator/jobs/types.h"

namespace espalier {

// By WorkItem::subnet, of one context.
using KnownAnswers = std::unordered_map<std::string, EvaluateResult>;

// What an answer depends on beside the subnet, as the hexadecimal SHA-256 of it: the model's
// content and precision, the sequences, how the candidates are repaired (empty: not at all), and
// the version of the program that computed it.
std::string AnswerContext(const ModelRef& model, const DataSetInfo& sequences,
                          const std::string& repair, const std::string& version);

// Not thread-safe.
class AnswerBook {
 public:
  // The context's answers, for as long as somebody holds them. `fresh`: nobody did, and those in
  // the store are to be recalled.
  struct Page {
    std::shared_ptr<KnownAnswers> answers;
    bool fresh = false;
  };
  Page Open(const std::string& context);
  // Nothing is replaced; ignored when nobody holds the context's answers (any more).
  void Add(const std::string& context,
           const std::vector<std::pair<std::string, EvaluateResult>>& answers);

 private:
  std::map<std::string, std::weak_ptr<KnownAnswers>> pages_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_ANSWER_BOOK_H_
