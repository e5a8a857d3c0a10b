#include "coordinator/service/event_logs.h"

#include <utility>

namespace espalier {

void EventLogs::Append(JobId job, std::shared_ptr<const v1::JobEvent> event, bool final) {
  Log& log = logs_[job];
  log.events.push_back(event);
  for (const auto& sink : log.sinks) sink->Offer(event);
  if (!final) return;
  log.final = true;
  for (const auto& sink : log.sinks) {
    following_.erase(sink.get());
    sink->End(absl::OkStatus());
  }
  log.sinks.clear();
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

void EventLogs::EndAll(const absl::Status& status) {
  following_.clear();
  for (auto& [job, log] : logs_) {
    for (const auto& sink : log.sinks) sink->End(status);
    log.sinks.clear();
  }
}

std::vector<std::shared_ptr<const v1::JobEvent>> EventLogs::Events(JobId job) const {
  const auto it = logs_.find(job);
  if (it == logs_.end()) return {};
  return it->second.events;
}

}  // namespace espalier
