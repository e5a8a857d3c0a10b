#include "coordinator/service/committer.h"

#include <spdlog/spdlog.h>

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

namespace espalier {
namespace {

constexpr std::chrono::seconds kRetry{1};
constexpr std::chrono::seconds kLongestWait{20};

template <typename T>
void Append(std::vector<T>&& from, std::vector<T>* to) {
  to->insert(to->end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

Committer::Committer(JobStore* store, std::function<void(const Actions&)> carry_out)
    : store_(store), carry_out_(std::move(carry_out)), thread_([this] { Run(); }) {}

Committer::~Committer() { Finish(); }

uint64_t Committer::Add(Actions actions, StoreBatch batch) {
  MutexLock lock(&mutex_);
  pending_.push_back({std::move(actions), std::move(batch)});
  changed_.NotifyAll();
  return ++added_;
}

absl::Status Committer::Wait(uint64_t ticket) {
  const auto deadline = std::chrono::steady_clock::now() + kLongestWait;
  MutexLock lock(&mutex_);
  while (done_ < ticket && !finishing_) {
    if (!changed_.WaitUntil(&mutex_, deadline)) break;
  }
  if (done_ >= ticket) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("the coordinator cannot store this at present",
                   trouble_.empty() ? std::string("; try again") : absl::StrCat(": ", trouble_)));
}

std::string Committer::trouble() const {
  MutexLock lock(&mutex_);
  return trouble_;
}

void Committer::Finish() {
  {
    MutexLock lock(&mutex_);
    finishing_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void Committer::Run() {
  while (true) {
    std::vector<Step> steps;
    {
      MutexLock lock(&mutex_);
      while (pending_.empty() && !finishing_) changed_.Wait(&mutex_);
      if (pending_.empty()) return;
      steps = std::exchange(pending_, {});
    }
    StoreBatch all;
    for (Step& step : steps) {
      Append(std::move(step.batch.jobs), &all.jobs);
      Append(std::move(step.batch.facts), &all.facts);
      Append(std::move(step.batch.events), &all.events);
      Append(std::move(step.batch.answers), &all.answers);
      Append(std::move(step.batch.deleted), &all.deleted);
    }
    if (!CommitAll(all)) return;
    for (const Step& step : steps) carry_out_(step.actions);
    MutexLock lock(&mutex_);
    done_ += steps.size();
    changed_.NotifyAll();
  }
}

bool Committer::CommitAll(const StoreBatch& batch) {
  if (batch.empty()) return true;
  while (true) {
    const absl::Status status = store_->Commit(batch);
    MutexLock lock(&mutex_);
    const std::string trouble(status.message());
    if (trouble != trouble_) {
      if (status.ok()) {
        spdlog::info("the store can be written again");
      } else {
        spdlog::error("nothing goes on until this is stored: {}", trouble);
      }
      trouble_ = trouble;
    }
    if (status.ok()) return true;
    const auto next = std::chrono::steady_clock::now() + kRetry;
    while (!finishing_ && changed_.WaitUntil(&mutex_, next)) {
    }
    if (finishing_) return false;
  }
}

}  // namespace espalier
