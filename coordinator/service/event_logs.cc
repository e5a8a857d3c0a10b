#include "coordinator/service/event_logs.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/service/messages.h"

namespace espalier {
namespace {

JobEventView EventView(const v1::JobEvent& event) {
  const ProgressView progress = ProgressFromMessage(event.progress());
  return {.unix_ms = event.unix_ms(),
          .phase = progress.phase,
          .done = progress.done,
          .generation = progress.generation,
          .best_perplexity = progress.best_perplexity,
          .ratio = progress.ratio,
          .message = event.message(),
          .size = progress.size};
}

}  // namespace

void EventLogs::Append(JobId job, const std::shared_ptr<const v1::JobEvent>& event, bool final) {
  Log& log = logs_[job];
  log.events.push_back(event);
  log.course.Add(EventView(*event));
  for (const auto& sink : log.sinks) sink->Offer(event);
  if (!final) return;
  log.final = true;
  for (const auto& sink : log.sinks) {
    following_.erase(sink.get());
    sink->End(absl::OkStatus());
  }
  log.sinks.clear();
}

absl::Status EventLogs::Restore(JobId job, const std::vector<std::string>& events, bool final) {
  Log log;
  for (const std::string& bytes : events) {
    auto event = std::make_shared<v1::JobEvent>();
    if (!event->ParseFromString(bytes)) {
      return absl::DataLossError(absl::StrCat("the store's event ", log.events.size() + 1,
                                              " of job-", job, " is damaged"));
    }
    log.course.Add(EventView(*event));
    log.events.push_back(std::move(event));
  }
  log.final = final;
  logs_[job] = std::move(log);
  return absl::OkStatus();
}

void EventLogs::Follow(JobId job, uint64_t after, std::shared_ptr<EventSink> sink) {
  Log& log = logs_[job];
  for (uint64_t i = after; i < log.events.size(); ++i) sink->Offer(log.events[i]);
  if (log.final) return sink->End(absl::OkStatus());
  following_[sink.get()] = job;
  log.sinks.push_back(std::move(sink));
}

void EventLogs::Forget(const EventSink* sink) {
  const auto it = following_.find(sink);
  if (it == following_.end()) return;
  std::erase_if(logs_[it->second].sinks, [sink](const auto& s) { return s.get() == sink; });
  following_.erase(it);
}

void EventLogs::Remove(JobId job) { logs_.erase(job); }

void EventLogs::EndAll(const absl::Status& status) {
  following_.clear();
  for (auto& [job, log] : logs_) {
    for (const auto& sink : log.sinks) sink->End(status);
    log.sinks.clear();
  }
}

std::vector<HistoryPoint> EventLogs::History(JobId job) const {
  const auto it = logs_.find(job);
  if (it == logs_.end()) return {};
  return it->second.course.History();
}

std::vector<JobLine> EventLogs::Messages(JobId job) const {
  const auto it = logs_.find(job);
  if (it == logs_.end()) return {};
  return it->second.course.Messages();
}

}  // namespace espalier
