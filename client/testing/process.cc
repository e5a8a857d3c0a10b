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

constexpr int kDeadlineMilliseconds = 120'000;

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
                 const std::map<std::string, std::string>& environment) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  int ends[2][2];
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(pipe2(ends[i], O_CLOEXEC), 0);
    posix_spawn_file_actions_adddup2(&actions, ends[i][1], i + 1);
    files_[i].fd = ends[i][0];
  }
  std::vector<std::string> arguments = command;
  std::vector<std::string> variables = Environment(environment);
  const int error = posix_spawn(&pid_, arguments[0].c_str(), &actions, nullptr,
                                Pointers(arguments).data(), Pointers(variables).data());
  EXPECT_EQ(error, 0) << arguments[0];
  posix_spawn_file_actions_destroy(&actions);
  for (auto& end : ends) close(end[1]);
}

Process::~Process() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  for (const File& file : files_) {
    if (file.fd >= 0) close(file.fd);
  }
}

void Process::Signal(int signal) const { EXPECT_EQ(kill(pid_, signal), 0); }

bool Process::ReadSome() {
  pollfd polled[2];
  bool open = false;
  for (int i = 0; i < 2; ++i) {
    polled[i] = {files_[i].fd, POLLIN, 0};  // poll ignores negative descriptors
    open = open || files_[i].fd >= 0;
  }
  if (!open) return false;
  if (poll(polled, 2, kDeadlineMilliseconds) == 0) {
    ADD_FAILURE() << "the process was silent for too long; killed. Its stderr:\n" << err();
    kill(pid_, SIGKILL);
  }
  for (int i = 0; i < 2; ++i) {
    if (polled[i].revents == 0) continue;
    char buffer[4096];
    const ssize_t count = read(files_[i].fd, buffer, sizeof(buffer));
    if (count > 0) {
      files_[i].text.append(buffer, count);
    } else if (count == 0 || errno != EINTR) {
      close(files_[i].fd);
      files_[i].fd = -1;
    }
  }
  return true;
}

bool Process::WaitFor(std::string_view text, const File& file) {
  while (file.text.find(text) == std::string::npos) {
    if (!ReadSome()) return false;
  }
  return true;
}

int Process::Wait() {
  while (ReadSome()) {
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
