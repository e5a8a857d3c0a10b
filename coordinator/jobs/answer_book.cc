#include "coordinator/jobs/answer_book.h"

#include "absl/strings/str_cat.h"
#include "common/sha256.h"

namespace espalier {

std::string AnswerContext(const ModelRef& model, const DataSetInfo& sequences,
                          const std::string& repair, const std::string& version) {
  return Sha256Hex(absl::StrCat(model.hash, "\n", static_cast<int>(model.precision), "\n",
                                sequences.hash, "\n", sequences.sequence_length, "\n",
                                sequences.count, "\n", version,
                                repair.empty() ? "" : absl::StrCat("\n", repair)));
}

AnswerBook::Page AnswerBook::Open(const std::string& context) {
  std::erase_if(pages_, [](const auto& page) { return page.second.expired(); });
  std::weak_ptr<KnownAnswers>& page = pages_[context];
  std::shared_ptr<KnownAnswers> answers = page.lock();
  const bool fresh = answers == nullptr;
  if (fresh) page = answers = std::make_shared<KnownAnswers>();
  return {.answers = std::move(answers), .fresh = fresh};
}

void AnswerBook::Add(const std::string& context,
                     const std::vector<std::pair<std::string, EvaluateResult>>& answers) {
  const auto page = pages_.find(context);
  const std::shared_ptr<KnownAnswers> known = page == pages_.end() ? nullptr : page->second.lock();
  if (known == nullptr) return;
  for (const auto& [subnet, answer] : answers) known->emplace(subnet, answer);
}

}  // namespace espalier
