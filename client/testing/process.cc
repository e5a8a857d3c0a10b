#include "client/testing/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

extern char** environ;

namespace espalier {
namespace {

constexpr std::chrono::seconds kDeadline{120};

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> Environment(const std::map<std::string, std::string>& added) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!added.contains(text.substr(0, text.find('=')))) all.push_back(text);
  }
  for (const auto& [name, value] : added) all.push_back(absl::StrCat(name, "=", value));
  return all;
}

}  // namespace

Process::Process(const std::vector<std::string>& command,
                 const std::map<std::string, std::string>& environment, const std::string& folder) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  if (!folder.empty()) posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  int ends[2][2];
  {
    MutexLock lock(&mutex_);
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(pipe2(ends[i], O_CLOEXEC), 0);
      posix_spawn_file_actions_adddup2(&actions, ends[i][1], i + 1);
      files_[i].fd = ends[i][0];
    }
  }
  std::vector<std::string> arguments = command;
  std::vector<std::string> variables = Environment(environment);
  const int error = posix_spawn(&pid_, arguments[0].c_str(), &actions, nullptr,
                                Pointers(arguments).data(), Pointers(variables).data());
  EXPECT_EQ(error, 0) << arguments[0];
  posix_spawn_file_actions_destroy(&actions);
  for (auto& end : ends) close(end[1]);
  reader_ = std::thread([this] { ReadAll(); });
}

Process::~Process() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  reader_.join();
}

void Process::Signal(int signal) const { EXPECT_EQ(kill(pid_, signal), 0); }

void Process::ReadAll() {
  int fds[2];
  {
    MutexLock lock(&mutex_);
    for (int i = 0; i < 2; ++i) fds[i] = files_[i].fd;
  }
  while (ReadSome(fds)) {
    MutexLock lock(&mutex_);
    for (int i = 0; i < 2; ++i) fds[i] = files_[i].fd;
  }
}

bool Process::ReadSome(const int (&fds)[2]) {
  if (fds[0] < 0 && fds[1] < 0) return false;
  pollfd polled[2] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}};  // negative ones are ignored
  poll(polled, 2, -1);
  for (int i = 0; i < 2; ++i) {
    if (polled[i].revents == 0) continue;
    char buffer[4096];
    const ssize_t count = read(fds[i], buffer, sizeof(buffer));
    MutexLock lock(&mutex_);
    if (count > 0) {
      files_[i].text.append(buffer, count);
    } else if (count == 0 || errno != EINTR) {
      close(fds[i]);
      files_[i].fd = -1;
    }
    changed_.NotifyAll();
  }
  return true;
}

bool Process::WaitForMore() {
  const size_t before = files_[0].text.size() + files_[1].text.size();
  if (changed_.WaitUntil(&mutex_, std::chrono::steady_clock::now() + kDeadline)) return true;
  if (files_[0].text.size() + files_[1].text.size() != before) return true;
  ADD_FAILURE() << "the process was silent for too long; killed. Its stderr:\n" << files_[1].text;
  if (pid_ > 0) kill(pid_, SIGKILL);
  return false;
}

bool Process::WaitFor(std::string_view text, size_t from, int file) {
  MutexLock lock(&mutex_);
  while (files_[file].text.find(text, from) == std::string::npos) {
    if (files_[file].fd < 0 || !WaitForMore()) return false;
  }
  return true;
}

std::string Process::Text(int file) const {
  MutexLock lock(&mutex_);
  return files_[file].text;
}

int Process::Wait() {
  {
    MutexLock lock(&mutex_);
    while ((files_[0].fd >= 0 || files_[1].fd >= 0) && WaitForMore()) {
    }
  }
  int status = 0;
  EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
  pid_ = -1;
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

Finished RunProcess(const std::vector<std::string>& command,
                    const std::map<std::string, std::string>& environment) {
  Process process(command, environment);
  const int status = process.Wait();
  return {status, process.out(), process.err()};
}

}  // namespace espalier
