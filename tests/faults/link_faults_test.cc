// Networks that break between the stages of a model.
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/faults/fault_fixture.h"

namespace espalier {
namespace {

using Direction = FaultProxy::Direction;

// Two replicas of two stages. Whatever happens to a link, its replica is dissolved, and another one
// has the work.
class LinkFaultsTest : public FaultTest {
 protected:
  LinkFaultsTest() {
    stages_ = 2;
    links_between_stages_ = true;
  }

  // `inject` is given the way to a stage, at a random instant of what passes over it.
  void DisturbLinks(const std::function<void(FaultProxy&)>& inject) {
    StartCluster(4);
    DisturbJobs([&](FollowedJob& job) {
      FaultProxy* const way = AwaitTraffic(job, static_cast<int64_t>(1 + Random(400'000)));
      if (way == nullptr) return false;
      inject(*way);
      job.WaitForWhatIsOpen();
      return true;
    });
  }

 private:
  int64_t Passed(const Member& member) const { return member.inbound->counts().to_target; }

  // The first way that so many more bytes went; null when the job ended before.
  FaultProxy* AwaitTraffic(const FollowedJob& job, int64_t bytes) {
    std::vector<int64_t> enough;
    for (const Member& member : members_) enough.push_back(Passed(member) + bytes);
    const auto deadline = Soon();
    while (!job.ended()) {
      for (size_t i = 0; i < members_.size(); ++i) {
        if (Passed(members_[i]) >= enough[i]) return members_[i].inbound.get();
      }
      if (std::chrono::steady_clock::now() >= deadline) {
        ADD_FAILURE() << "nothing passes any more";
        return nullptr;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return nullptr;
  }
};

TEST_F(LinkFaultsTest, Reset) {
  DisturbLinks([](FaultProxy& way) { way.Reset(); });
}

TEST_F(LinkFaultsTest, CutAfterSomeBytes) {
  DisturbLinks([this](FaultProxy& way) {
    const auto direction = Random(4) == 0 ? Direction::kToClient : Direction::kToTarget;
    way.CutAfter(direction, static_cast<int64_t>(1 + Random(100'000)));
  });
}

TEST_F(LinkFaultsTest, HalfClosed) {
  DisturbLinks([this](FaultProxy& way) {
    way.HalfClose(Random(2) == 0 ? Direction::kToTarget : Direction::kToClient);
  });
}

// Neither end is told.
TEST_F(LinkFaultsTest, Forgotten) {
  keepalive_ = std::chrono::milliseconds(300);
  DisturbLinks([](FaultProxy& way) { way.Freeze(); });
}

TEST_F(LinkFaultsTest, Slow) {
  DisturbLinks([this](FaultProxy& way) {
    way.Throttle(static_cast<int64_t>(50'000 + Random(200'000)));
    std::this_thread::sleep_for(std::chrono::milliseconds(Random(300)));
    way.Throttle(0);
  });
}

}  // namespace
}  // namespace espalier
