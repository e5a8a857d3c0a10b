#include "coordinator/status/status_feed.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "coordinator/status/status_json.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

// How long a wait for the source may take to notice Stop.
constexpr std::chrono::milliseconds kGlance{100};

}  // namespace

std::string SnapshotId::ToString() const { return absl::StrCat(start_unix_ms, "-", change); }

absl::StatusOr<SnapshotId> SnapshotId::Parse(const std::string& text) {
  SnapshotId id;
  const size_t dash = text.find('-');
  if (dash != std::string::npos && absl::SimpleAtoi(text.substr(0, dash), &id.start_unix_ms) &&
      absl::SimpleAtoi(text.substr(dash + 1), &id.change) && id.ToString() == text) {
    return id;
  }
  return absl::InvalidArgumentError(
      "\"after\" (or Last-Event-ID) is not the id of an event of this stream; leave it out");
}

StatusFeed::StatusFeed(const StatusSource* source, const Options& options)
    : source_(source), options_(options), thread_([this] { Run(); }) {}

StatusFeed::~StatusFeed() { Stop(); }

bool StatusFeed::Join() {
  MutexLock lock(&mutex_);
  if (stopped_ || streams_ >= options_.most_streams) return false;
  ++streams_;
  changed_.NotifyAll();
  return true;
}

void StatusFeed::Leave() {
  MutexLock lock(&mutex_);
  if (--streams_ == 0) newest_ = nullptr;  // who joins later wants a new one
}

int StatusFeed::streams() const {
  MutexLock lock(&mutex_);
  return streams_;
}

bool StatusFeed::stopped() const {
  MutexLock lock(&mutex_);
  return stopped_;
}

std::shared_ptr<const StatusFeed::Item> StatusFeed::Next(const SnapshotId& seen,
                                                         Clock::time_point deadline) {
  MutexLock lock(&mutex_);
  while (!stopped_) {
    if (newest_ != nullptr && !(newest_->id == seen)) return newest_;
    if (!changed_.WaitUntil(&mutex_, deadline)) return nullptr;
  }
  return nullptr;
}

void StatusFeed::Stop() {
  {
    MutexLock lock(&mutex_);
    stopped_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void StatusFeed::Run() {
  uint64_t published = 0;
  while (WaitForStreams()) {
    // Not under our lock: the source has one of its own.
    if (HasSnapshot() && source_->WaitForChange(published, Clock::now() + kGlance) == published) {
      continue;
    }
    const StatusSnapshot snapshot = source_->Look();
    published = snapshot.change;
    Publish(snapshot);
    if (!WaitForDistance()) return;
  }
}

bool StatusFeed::HasSnapshot() const {
  MutexLock lock(&mutex_);
  return newest_ != nullptr;
}

// False: Stop.
bool StatusFeed::WaitForStreams() {
  MutexLock lock(&mutex_);
  while (streams_ == 0 && !stopped_) changed_.Wait(&mutex_);
  return !stopped_;
}

// False: Stop.
bool StatusFeed::WaitForDistance() {
  const Clock::time_point end = Clock::now() + options_.distance;
  MutexLock lock(&mutex_);
  while (!stopped_) {
    if (!changed_.WaitUntil(&mutex_, end)) return true;
  }
  return false;
}

void StatusFeed::Publish(const StatusSnapshot& snapshot) {
  auto item = std::make_shared<const Item>(
      Item{.id = {.start_unix_ms = snapshot.start_unix_ms, .change = snapshot.change},
           .json = JsonText(StatusJson(snapshot))});
  MutexLock lock(&mutex_);
  if (streams_ > 0) newest_ = std::move(item);
  changed_.NotifyAll();
}

}  // namespace espalier
