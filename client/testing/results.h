// Results of jobs, to be compared: the same job and seed give the same bytes, whatever happened on
// the way.
#ifndef ESPALIER_CLIENT_TESTING_RESULTS_H_
#define ESPALIER_CLIENT_TESTING_RESULTS_H_

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace espalier {

// Every file of a result folder by its relative name, but for report.json, which holds times.
std::map<std::string, std::string> ReadResult(const std::filesystem::path& folder);

std::vector<std::string> FileNames(const std::map<std::string, std::string>& files);

// Says which file differs, not megabytes of bytes. Fails, too, when there is no population log.
void ExpectSameFiles(const std::map<std::string, std::string>& expected,
                     const std::map<std::string, std::string>& actual);

}  // namespace espalier

#endif  // ESPALIER_CLIENT_TESTING_RESULTS_H_
