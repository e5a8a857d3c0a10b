#include "coordinator/jobs/testing/simulation.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rng.h"
#include "coordinator/jobs/brain.h"
#include "coordinator/jobs/testing/answer_ledger.h"
#include "coordinator/jobs/testing/fakes.h"
#include "coordinator/jobs/testing/invariants.h"

namespace espalier::testing_fakes {
namespace {

constexpr TimeMs kLease = 400;
constexpr TimeMs kHeartbeat = 100;
constexpr TimeMs kTick = 20;
constexpr TimeMs kLastFault = 60'000;
constexpr TimeMs kHorizon = 1'200'000;

// One machine: attaches, works on its tasks one after another, and comes back after every fault.
struct Host {
  std::string name;
  WorkerKey key = 0;  // of its present stream; 0: not attached
  uint64_t epoch = 0;
  std::deque<SendTask> tasks;  // the first is being worked on
  bool busy = false;
  TimeMs stopped_until = 0;
};

// As TCP: what is sent arrives in order or, once it is broken, not at all.
struct Stream {
  size_t host = 0;
  bool open = true;
  TimeMs last_up = 0;
  TimeMs last_down = 0;
};

class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options)
      : options_(options),
        sabotage_(options.sabotage == nullptr ? std::make_unique<Sabotage>() : options.sabotage()),
        random_(options.seed, RandomPurpose::kTest, 1, 0),
        hosts_(options.workers) {
    StartCoordinator();
  }

  SimulationResult Run() {
    for (size_t i = 0; i < hosts_.size(); ++i) {
      hosts_[i].name = absl::StrCat("host-", i);
      At(Between(0, 300), [this, i] { Attach(i); });
    }
    result_.jobs.resize(options_.jobs);
    for (int j = 0; j < options_.jobs; ++j) {
      At(Between(0, 500), [this, j] { Submit(j); });
      unsubmitted_.insert(j);
    }
    At(kTick, [this] { TickForever(); });
    while (!agenda_.empty() && (unfinished_ > 0 || !unsubmitted_.empty()) &&
           result_.violations.empty()) {
      const auto next = agenda_.begin();
      now_ = next->first.first;
      const std::function<void()> run = std::move(next->second);
      agenda_.erase(next);
      if (now_ > kHorizon) {
        result_.violations.push_back("a job did not end");
        break;
      }
      run();
    }
    Collect();
    return std::move(result_);
  }

 private:
  // ---- Time and chance ----

  void At(TimeMs when, std::function<void()> what) {
    agenda_.emplace(std::pair(when, ++sequence_), std::move(what));
  }
  TimeMs Between(TimeMs low, TimeMs high) {
    return now_ + low + static_cast<TimeMs>(random_.Below(high - low + 1));
  }
  bool Fault() {
    if (now_ > kLastFault || !random_.Bernoulli(options_.fault_rate)) return false;
    ++result_.faults;
    return true;
  }

  // ---- The brain and its surroundings ----

  void StartCoordinator() {
    BrainOptions options{.lease = kLease,
                         .most_failures = 1'000'000,
                         .version = kTestVersion,
                         .life = ++life_,
                         .most_a_step = 2};
    sabotage_->AtStart(options);
    brain_ = std::make_unique<Brain>(options, &searches_);
    Actions actions;
    for (const auto& [id, stored] : store_) {
      if (!IsFinal(stored.state)) {
        StoredJob restored = stored;
        sabotage_->OnRestore(restored);
        brain_->Restore(std::move(restored), now_, &actions);
        continue;
      }
      JobView view;
      view.id = id;
      view.state = stored.state;
      brain_->RestoreFinished(view, stored.idempotency_key);
    }
    Store(nullptr, std::move(actions));
  }

  void Feed(const Event& event) {
    Actions actions;
    Event told = event;
    sabotage_->OnEvent(told);
    brain_->Handle(told, now_, &actions);
    Store(&event, std::move(actions));
  }

  void GoOn() {
    if (!brain_->HasMore()) return;
    Actions actions;
    brain_->GoOn(now_, &actions);
    Store(nullptr, std::move(actions));
  }

  // Commits take a while, in order. `event` is what led to the step; null for a client's call.
  void Store(const Event* event, Actions actions) {
    sabotage_->OnActions(actions);
    Note(answers_.CheckStep(event, actions, now_));
    const auto hasty = std::stable_partition(
        actions.begin(), actions.end(), [this](const Action& a) { return !sabotage_->IsHasty(a); });
    for (auto action = hasty; action != actions.end(); ++action) CarryOut({*action});
    actions.erase(hasty, actions.end());
    if (brain_->HasMore()) {
      At(Between(0, 1), [this, life = life_] {
        if (life == life_) GoOn();
      });
    }
    const bool crash = now_ <= kLastFault && random_.Bernoulli(options_.crash_rate);
    const TimeMs committed = std::max(last_commit_, Between(0, 4));
    last_commit_ = committed;
    At(committed, [this, life = life_, actions = std::move(actions)] {
      if (life == life_) CarryOut(actions);
    });
    if (crash) {
      At(Between(0, 6), [this, life = life_] {
        if (life == life_) Crash();
      });
    }
  }

  void Crash() {
    ++result_.crashes;
    for (auto& [key, stream] : streams_) stream.open = false;
    for (Host& host : hosts_) {
      if (host.key != 0) ComeBack(host);
    }
    invariants_.CoordinatorDied();
    answers_.CoordinatorDied();
    opened_logs_.clear();
    StartCoordinator();
    // Clients that got no answer ask again.
    for (const int j : unsubmitted_) {
      At(Between(1, 300), [this, j] { Submit(j); });
    }
  }

  void CarryOut(const Actions& actions) {
    ++result_.steps;
    for (const Action& action : actions) {
      Note(invariants_.Check(action));
      Note(answers_.CheckAction(action));
      std::visit([this](const auto& a) { Do(a); }, action);
    }
  }

  void Note(const std::string& broken) {
    if (broken.empty()) return;
    result_.violations.push_back(absl::StrCat("at ", now_, " ms: ", broken));
  }

  void TickForever() {
    Feed(Tick{});
    At(now_ + kTick, [this] { TickForever(); });
  }

  void Submit(int j) {
    if (unsubmitted_.count(j) == 0) return;
    const auto make = options_.allocation ? TinyAllocationSpec : TinySpec;
    JobSpec spec = make(/*seed=*/100 + j, absl::StrCat("/results/", j), j % 2 == 0);
    if (options_.same_search) spec.seed = 100;
    if (options_.other_models) spec.model = absl::StrCat("/models/", j);
    if (options_.other_texts) spec.text.path = absl::StrCat("/texts/", j, ".txt");
    if (options_.priorities) spec.priority = j % 3;
    spec.stages = options_.stages;
    for (int size = 1; size < options_.sizes; ++size) spec.more_ratios.push_back(0.7 + 0.1 * size);
    Actions actions;
    const absl::StatusOr<JobId> id = brain_->Submit(spec, absl::StrCat("key-", j), now_, &actions);
    index_[*id] = j;
    Store(nullptr, std::move(actions));
    if (options_.interfere) Interfere(*id);
    if (options_.cancel_one && j == 0) {
      At(Between(0, 1500), [this, job = *id] {
        Actions cancel;
        if (!brain_->Cancel(job, "changed my mind", now_, &cancel).ok()) {
          result_.violations.push_back("a known job could not be cancelled");
        }
        Store(nullptr, std::move(cancel));
      });
    }
  }

  // Somebody at the command line. What is refused because the job has ended is no fault.
  void Interfere(JobId job) {
    const auto call = [this](auto what) {
      Actions actions;
      what(actions);
      Store(nullptr, std::move(actions));
    };
    for (int i = 0; i < 2; ++i) {
      const TimeMs pause = Between(0, 2000);
      At(pause,
         [=, this] { call([&](Actions& actions) { (void)brain_->Pause(job, now_, &actions); }); });
      At(pause + Between(0, 1000) - now_,
         [=, this] { call([&](Actions& actions) { (void)brain_->Resume(job, now_, &actions); }); });
    }
    At(Between(0, 2000), [=, this] {
      const std::vector<WorkerView> workers = brain_->Workers();
      if (workers.empty()) return;
      const uint64_t number = workers[random_.Below(workers.size())].number;
      call([&](Actions& actions) { (void)brain_->Drain(number, now_, &actions); });
    });
    // Whoever paused a job last resumes it in the end.
    At(now_ + 5000,
       [=, this] { call([&](Actions& actions) { (void)brain_->Resume(job, now_, &actions); }); });
  }

  void Do(const RecordAnswer& action) {
    stored_answers_[action.context].emplace(action.subnet, action.answer);
  }
  void Do(const RecallAnswers& action) {
    At(Between(1, 100), [this, action, life = life_] {
      if (life != life_) return;
      AnswersRecalled recalled{.context = action.context, .answers = {}};
      for (const auto& answer : stored_answers_[action.context]) recalled.answers.push_back(answer);
      Feed(recalled);
    });
  }
  void Do(const ForgetJob&) {}

  void Do(const RecordJob& action) {
    unsubmitted_.erase(index_[action.job]);
    ++unfinished_;
    StoredJob& stored = store_[action.job];
    stored.id = action.job;
    stored.spec = *action.spec;
    stored.idempotency_key = action.idempotency_key;
    stored.created = action.created;
  }
  void Do(const RecordFact& action) { store_[action.job].journal.push_back(action.entry); }
  void Do(const PrepareJob& action) {
    At(Between(1, 100), [this, action, life = life_] {
      if (life != life_) return;
      Feed(JobPrepared{.job = action.job, .prepared = Prepared(*action.spec)});
    });
  }
  void Do(const AppendPopulation& action) {
    // Each life of a coordinator begins each log that it writes anew.
    std::string& log = files_[action.job][action.part].population;
    if (opened_logs_.emplace(action.job, action.part).second) log.clear();
    log += action.lines;
  }
  void Do(const FinishOutput& action) {
    // The folder may be there already, of a coordinator that died before it could note that.
    std::string& result = files_[action.job][action.part].subnet_json;
    if (!result.empty() && result != action.files.back().contents) {
      result_.violations.push_back("a result was made again and is another one");
    }
    result = action.files.back().contents;
    At(Between(1, 100), [this, action, life = life_] {
      if (life == life_) Feed(OutputDone{.job = action.job, .status = absl::OkStatus()});
    });
  }
  void Do(const ReleaseJob&) { --unfinished_; }
  void Do(const PublishEvent& action) {
    ++result_.jobs[index_[action.job]].events;
    StoredJob& stored = store_[action.job];
    stored.last_event = action.number;
    stored.state = action.state;
    stored.progress = action.progress;
    errors_[action.job] = action.error;
  }

  void Collect() {
    for (const auto& [id, stored] : store_) {
      result_.jobs[index_[id]].state = stored.state;
      result_.jobs[index_[id]].error = errors_[id];
      for (const auto& [part, files] : files_[id]) {
        result_.jobs[index_[id]].population += files.population;
        result_.jobs[index_[id]].subnet_json += files.subnet_json;
      }
    }
  }

  // ---- Streams ----

  void Up(WorkerKey key, Event event) {
    Stream& stream = streams_[key];
    stream.last_up = std::max(stream.last_up, Between(0, 10));
    At(stream.last_up, [this, key, event = std::move(event)] {
      if (streams_[key].open) Feed(event);
    });
  }

  template <typename A>
  void Down(const A& action) {
    const WorkerKey key = action.worker;
    Stream& stream = streams_[key];
    stream.last_down = std::max(stream.last_down, Between(0, 10));
    At(stream.last_down, [this, key, action] {
      Host& host = hosts_[streams_[key].host];
      if (streams_[key].open && host.key == key) Receive(host, action);
    });
  }
  void Do(const SendWelcome& action) { Down(action); }
  void Do(const SendJoin& action) { Down(action); }
  void Do(const SendTask& action) {
    const auto* evaluate = std::get_if<EvaluateWork>(&action.work);
    if (evaluate != nullptr && evaluate->data_set == "search" && action.stage.first == 0) {
      ++result_.candidates;
    }
    Down(action);
  }
  void Do(const SendCancel& action) { Down(action); }
  void Do(const SendDataSet&) {}
  void Do(const SendAck&) {}
  void Do(const DismissWorker& action) {
    Do(CloseWorker{.worker = action.worker, .status = absl::CancelledError(action.reason)});
  }
  void Do(const CloseWorker& action) {
    const WorkerKey key = action.worker;
    At(Between(0, 10), [this, key] {
      streams_[key].open = false;
      Host& host = hosts_[streams_[key].host];
      if (host.key == key) ComeBack(host);
    });
  }

  // ---- Hosts ----

  size_t IndexOf(const Host& host) const { return &host - hosts_.data(); }

  void Attach(size_t i) {
    Host& host = hosts_[i];
    if (host.key != 0) return;
    host.key = ++last_key_;
    host.tasks.clear();
    host.busy = false;
    host.epoch = 0;
    streams_[host.key].host = i;
    Up(host.key, WorkerAttached{.worker = host.key, .info = Info(host.name)});
    Beat(i, host.key);
  }

  void ComeBack(Host& host) {
    host.key = 0;
    At(Between(5, 600), [this, i = IndexOf(host)] { Attach(i); });
  }

  void Beat(size_t i, WorkerKey key) {
    const Host& host = hosts_[i];
    if (host.key != key) return;
    if (now_ >= host.stopped_until && host.epoch != 0) {
      Up(key, WorkerHeartbeat{.worker = key,
                              .task = host.tasks.empty() ? 0 : host.tasks.front().task,
                              .progress = random_.Uniform(),
                              .activity = "working"});
    }
    At(now_ + kHeartbeat, [this, i, key] { Beat(i, key); });
  }

  void Receive(Host& host, const SendWelcome& action) { host.epoch = action.epoch; }
  void Receive(Host& host, const SendJoin& action) {
    host.epoch = action.epoch;
    // What is in hand is finished anyway, as a slow worker would; it comes under the old epoch.
    host.tasks.erase(host.tasks.begin() + (host.busy ? 1 : 0), host.tasks.end());
  }
  void Receive(Host& host, const SendTask& action) {
    host.tasks.push_back(action);
    if (!host.busy) Work(host);
  }
  void Receive(Host& host, const SendCancel& action) {
    // One in hand is finished anyway, as a slow worker would.
    if (host.tasks.empty()) return;
    const auto rest = std::remove_if(host.tasks.begin() + 1, host.tasks.end(),
                                     [&](const auto& task) { return task.task == action.task; });
    host.tasks.erase(rest, host.tasks.end());
  }

  void Work(Host& host) {
    host.busy = true;
    if (Fault() && Disturb(host)) return;
    const TimeMs end = std::max(host.stopped_until, Between(1, 60));
    At(end, [this, i = IndexOf(host), key = host.key] {
      if (hosts_[i].key == key) Finish(hosts_[i]);
    });
  }

  // True when the host is gone.
  bool Disturb(Host& host) {
    const WorkerKey key = host.key;
    switch (random_.Below(4)) {
      case 0:  // crash: the broken connection is noticed
        streams_[key].open = false;
        At(Between(0, 50), [this, key] { Feed(WorkerLost{.worker = key, .reason = "reset"}); });
        ComeBack(host);
        return true;
      case 1:  // the machine loses power: nothing is noticed before the lease ends
        ComeBack(host);
        return true;
      case 2:  // goodbye
        Up(key, WorkerLeft{.worker = key, .reason = "preempted"});
        ComeBack(host);
        return true;
      default:  // stopped, perhaps past its lease; then it goes on as if nothing had happened
        host.stopped_until = Between(kLease / 2, 2 * kLease);
        return false;
    }
  }

  void Finish(Host& host) {
    const SendTask task = host.tasks.front();
    host.tasks.pop_front();
    TaskFinished right{.worker = host.key,
                       .task = task.task,
                       .epoch = task.epoch,
                       .status = absl::OkStatus(),
                       .outcome = FakeAnswer(task),
                       .notes = {.seconds = 0.01}};
    if (Fault()) {
      Answer(host, right, task);
    } else {
      Up(host.key, right);
    }
    host.busy = false;
    if (!host.tasks.empty()) Work(host);
  }

  // Faulty answers. A load's error would end the job, rightly; it is not injected here.
  void Answer(Host& host, const TaskFinished& right, const SendTask& task) {
    const bool load = std::holds_alternative<LoadWork>(task.work);
    TaskFinished wrong = right;
    const bool staged = options_.stages > 1;
    switch (random_.Below(load ? 3 : staged ? 8 : 6)) {
      case 0:  // twice
        Up(host.key, right);
        return Up(host.key, right);
      case 1:  // under an old epoch first
        wrong.epoch = right.epoch - 1;
        Up(host.key, wrong);
        return Up(host.key, right);
      case 2:  // to another one's task first
        wrong.task = right.task - 1;
        Up(host.key, wrong);
        return Up(host.key, right);
      case 3:
        wrong.status = absl::InternalError("a cosmic ray");
        return Up(host.key, wrong);
      case 4:
        wrong.status = absl::CancelledError("preempted");
        return Up(host.key, wrong);
      case 5:
        if (!staged) break;
        wrong.status = absl::UnavailableError("the link is lost");
        return Up(host.key, wrong);
      case 6:
        wrong.status = absl::AbortedError("the other stage gave up");
        return Up(host.key, wrong);
      default:
        break;
    }
    wrong.outcome = EvaluateResult{.nll_sums = {1, 2, 3, 4, 5, 6, 7}};
    Up(host.key, wrong);
  }

  const SimulationOptions options_;
  const std::unique_ptr<Sabotage> sabotage_;
  RandomStream random_;
  const FakeSearchFactory searches_;
  std::unique_ptr<Brain> brain_;
  uint64_t life_ = 0;
  std::map<JobId, StoredJob> store_;
  std::map<JobId, std::string> errors_;
  struct ResultFiles {
    std::string population;
    std::string subnet_json;
  };
  std::map<JobId, std::map<std::string, ResultFiles>> files_;  // by part
  std::set<std::pair<JobId, std::string>> opened_logs_;        // by the coordinator that lives
  std::map<std::string, std::map<std::string, EvaluateResult>> stored_answers_;  // by context
  TimeMs last_commit_ = 0;
  Invariants invariants_;
  AnswerLedger answers_{kLease};
  std::vector<Host> hosts_;
  std::map<WorkerKey, Stream> streams_;
  std::map<JobId, int> index_;
  std::map<std::pair<TimeMs, uint64_t>, std::function<void()>> agenda_;
  SimulationResult result_;
  TimeMs now_ = 0;
  uint64_t sequence_ = 0;
  WorkerKey last_key_ = 0;
  std::set<int> unsubmitted_;
  int unfinished_ = 0;
};

}  // namespace

SimulationResult Simulate(const SimulationOptions& options) { return Simulation(options).Run(); }

}  // namespace espalier::testing_fakes
