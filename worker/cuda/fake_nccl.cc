#include "worker/cuda/fake_nccl.h"

#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "common/mutex.h"

namespace {

// What both ends of a pair share. A transfer is copied by the end that sees first that both began.
struct Meeting {
  std::array<bool, 2> here = {false, false};
  std::array<bool, 2> begun = {false, false};
  const void* from = nullptr;
  void* to = nullptr;
  std::array<int64_t, 2> bytes = {0, 0};
};

}  // namespace

struct EspalierNcclPair {
  std::string id;
  int32_t rank = 0;
  bool ready = false;     // set up
  bool transfer = false;  // one is under way
  std::shared_ptr<Meeting> meeting;
  std::atomic<bool> in_use = false;
};

namespace espalier {

FakeNccl& TheFakeNccl() {
  static FakeNccl fake;
  return fake;
}

namespace fake_nccl {
namespace {

// Guards all meetings and pairs.
struct Hall {
  Mutex mutex;
  int64_t ids ABSL_GUARDED_BY(mutex) = 0;
  std::map<std::string, std::shared_ptr<Meeting>> meetings ABSL_GUARDED_BY(mutex);
};
Hall& TheHall() {
  static Hall hall;
  return hall;
}

int Fail(const char* message, char* error, size_t error_size) {
  std::snprintf(error, error_size, "fake NCCL: %s", message);
  return 1;
}

// Finds out callers that use a pair from two threads at once, which NCCL forbids.
class Use {
 public:
  explicit Use(EspalierNcclPair* pair) : pair_(pair), alone_(!pair->in_use.exchange(true)) {}
  ~Use() {
    if (alone_) pair_->in_use = false;
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  bool alone() const { return alone_; }

 private:
  EspalierNcclPair* const pair_;
  const bool alone_;
};

// Begins a transfer at this end.
int Begin(EspalierNcclPair* pair, int32_t rank, int64_t bytes, char* error, size_t error_size) {
  if (pair->rank != rank) return Fail("this end does not go that way", error, error_size);
  if (!pair->ready || pair->transfer) return Fail("this end is not idle", error, error_size);
  pair->transfer = true;
  pair->meeting->begun[rank] = true;
  pair->meeting->bytes[rank] = bytes;
  if (!pair->meeting->begun[1 - rank]) ++TheFakeNccl().running;
  return 0;
}

// Whether the transfer of this end has ended; the other end may not have noticed yet.
int Finish(EspalierNcclPair* pair, int32_t* done, char* error, size_t error_size) {
  Meeting& meeting = *pair->meeting;
  if (meeting.begun[pair->rank]) {  // otherwise the other end has finished it
    if (TheFakeNccl().transfers_fail) return Fail("a transfer failed", error, error_size);
    if (TheFakeNccl().transfers_stall || !meeting.begun[1 - pair->rank]) return 0;
    if (meeting.bytes[0] != meeting.bytes[1]) return Fail("sizes differ", error, error_size);
    std::memcpy(meeting.to, meeting.from, static_cast<size_t>(meeting.bytes[0]));
    meeting.begun = {false, false};
    ++TheFakeNccl().transfers;
    --TheFakeNccl().running;
  }
  pair->transfer = false;
  *done = 1;
  return 0;
}

}  // namespace

int Allocate(int32_t, int64_t bytes, void** data, char* error, size_t error_size) {
  FakeNccl& fake = TheFakeNccl();
  if (fake.allocated_bytes + bytes > fake.free_bytes) return Fail("no memory", error, error_size);
  // The size goes before the data.
  auto* block = static_cast<int64_t*>(::operator new(static_cast<size_t>(bytes) + 64));
  *block = bytes;
  *data = block + 8;
  fake.allocated_bytes += bytes;
  return 0;
}

void Release(int32_t, void* data) {
  int64_t* block = static_cast<int64_t*>(data) - 8;
  TheFakeNccl().allocated_bytes -= *block;
  ::operator delete(block);
}

int Copy(int32_t, void* to, const void* from, int64_t bytes, char*, size_t) {
  if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
  return 0;
}

int FinishStream(int32_t, char*, size_t) { return 0; }

int UniqueId(char* id, char*, size_t) {
  MutexLock lock(&TheHall().mutex);
  std::memset(id, 0, kEspalierNcclIdBytes);
  std::snprintf(id, kEspalierNcclIdBytes, "pair %ld", static_cast<long>(++TheHall().ids));
  return 0;
}

int Open(int32_t, const char* id, int32_t rank, EspalierNcclPair** pair, char* error,
         size_t error_size) {
  MutexLock lock(&TheHall().mutex);
  std::shared_ptr<Meeting>& meeting = TheHall().meetings[id];
  if (meeting == nullptr) meeting = std::make_shared<Meeting>();
  if (meeting->here[rank]) return Fail("that end is taken", error, error_size);
  meeting->here[rank] = true;
  auto opened = std::make_unique<EspalierNcclPair>();
  opened->id = id;
  opened->rank = rank;
  opened->meeting = meeting;
  *pair = opened.release();
  ++TheFakeNccl().pairs;
  return 0;
}

int Send(EspalierNcclPair* pair, const void* data, int64_t bytes, char* error, size_t error_size) {
  const Use use(pair);
  if (!use.alone()) return Fail("two threads use one end", error, error_size);
  MutexLock lock(&TheHall().mutex);
  if (Begin(pair, 0, bytes, error, error_size) != 0) return 1;
  pair->meeting->from = data;
  return 0;
}

int Receive(EspalierNcclPair* pair, void* data, int64_t bytes, char* error, size_t error_size) {
  const Use use(pair);
  if (!use.alone()) return Fail("two threads use one end", error, error_size);
  MutexLock lock(&TheHall().mutex);
  if (Begin(pair, 1, bytes, error, error_size) != 0) return 1;
  pair->meeting->to = data;
  return 0;
}

int Poll(EspalierNcclPair* pair, int32_t* done, char* error, size_t error_size) {
  const Use use(pair);
  if (!use.alone()) return Fail("two threads use one end", error, error_size);
  MutexLock lock(&TheHall().mutex);
  *done = 0;
  if (pair->ready) return Finish(pair, done, error, error_size);
  if (TheFakeNccl().set_up_fails) return Fail("no network interface", error, error_size);
  if (TheFakeNccl().never_sets_up) return 0;
  pair->ready = pair->meeting->here[0] && pair->meeting->here[1];
  *done = pair->ready ? 1 : 0;
  return 0;
}

void Abort(EspalierNcclPair* pair) {
  MutexLock lock(&TheHall().mutex);
  Meeting& meeting = *pair->meeting;
  if (meeting.begun[pair->rank]) {
    meeting.begun[pair->rank] = false;
    if (!meeting.begun[1 - pair->rank]) --TheFakeNccl().running;
  }
  meeting.here[pair->rank] = false;
  if (!meeting.here[1 - pair->rank]) TheHall().meetings.erase(pair->id);
  --TheFakeNccl().pairs;
  delete pair;
}

}  // namespace fake_nccl
}  // namespace espalier
