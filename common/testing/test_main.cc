// The main of every test program. Each process has a folder of its own for temporary files
// (testing::TempDir), so that tests, and whole runs of them, may go on side by side. The folder
// stays when a test failed, for a look at it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>

int main(int argc, char** argv) {
  ::testing::InitGoogleMock(&argc, argv);
  // Short: paths of Unix sockets end at 107 bytes.
  std::string folder = std::filesystem::temp_directory_path() / "espalier-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr || setenv("TEST_TMPDIR", folder.c_str(), 1) != 0) {
    std::perror(folder.c_str());
    return 1;
  }
  const int failed = RUN_ALL_TESTS();
  std::error_code ignored;
  if (failed == 0) std::filesystem::remove_all(folder, ignored);
  return failed;
}
