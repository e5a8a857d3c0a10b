// One connection through a FaultProxy: two sockets and what is on its way between them.
#ifndef ESPALIER_TESTS_FAULTS_PROXIED_CONNECTION_H_
#define ESPALIER_TESTS_FAULTS_PROXIED_CONNECTION_H_

#include <poll.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace espalier {

// One direction. Sockets do not block and belong to the connection.
class ProxiedPipe {
 public:
  using Clock = std::chrono::steady_clock;

  ProxiedPipe(int from, int to) : from_(from), to_(to) {}

  // Forwards what can be forwarded now, at most `limit` bytes (negative: no limit), and the end
  // once everything before it is through. The bytes that went, or -1 when the connection broke.
  int64_t Pump(int64_t bytes_per_second, int64_t limit, Clock::time_point now);
  // Drops what is on its way and what will come; the receiver sees the end.
  void Close();
  bool done() const { return shut_; }

  // Adds what to wait for before the next Pump. The milliseconds after which it can go on anyhow,
  // or -1.
  int WhatToWaitFor(int64_t bytes_per_second, std::vector<pollfd>* polled) const;

 private:
  bool Fill();
  int64_t Allowance(int64_t bytes_per_second, Clock::time_point now);

  const int from_;
  const int to_;
  std::string buffer_;
  bool ended_ = false;  // nothing more comes
  bool shut_ = false;   // the receiver knows
  double allowance_ = 0;
  Clock::time_point last_{};
};

class ProxiedConnection {
 public:
  // Takes both sockets.
  ProxiedConnection(int client, int target);
  ~ProxiedConnection();  // closes both
  ProxiedConnection(const ProxiedConnection&) = delete;
  ProxiedConnection& operator=(const ProxiedConnection&) = delete;

  // The destructor's closing becomes a reset.
  void Reset();

  ProxiedPipe to_target;
  ProxiedPipe to_client;
  bool frozen = false;

 private:
  const int client_;
  const int target_;
};

}  // namespace espalier

#endif  // ESPALIER_TESTS_FAULTS_PROXIED_CONNECTION_H_
