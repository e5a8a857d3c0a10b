// Every kind of bad input that a user can give: a message that names it, a status that is not 0,
// nothing half-written, and an end within the deadline of Process.
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "client/exit_codes.h"
#include "client/testing/cli_fixture.h"
#include "client/testing/small_model.h"
#include "common/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace espalier {
namespace {

using ::testing::HasSubstr;

class BadInputTest : public CliTest {
 protected:
  // The job fails, and says all of `words` on stderr and in the JSON.
  void ExpectFailure(const std::vector<std::string>& arguments,
                     const std::vector<std::string>& words) {
    std::vector<std::string> with_json = arguments;
    with_json.push_back("--json");
    const Finished finished = Espalier(with_json);
    EXPECT_THAT(finished.status, ::testing::AnyOf(kExitFailure, kExitUsage)) << finished.err;
    const auto json = nlohmann::json::parse(finished.out, nullptr, false);
    ASSERT_TRUE(json.is_object() && json.contains("error")) << finished.out;
    EXPECT_THAT(finished.err, HasSubstr("espalier: "));
    for (const std::string& word : words) {
      EXPECT_THAT(finished.err, HasSubstr(word));
      EXPECT_THAT(json["error"].get<std::string>(), HasSubstr(word));
    }
    ExpectNothingLeft();
  }

  // The same model problem met by a job and by `eval`.
  void ExpectModelFailure(const std::vector<std::string>& words) {
    ExpectFailure(SmallJob("run"), words);
    ExpectFailure({"eval", "--model", model().string(), "--text", text().string()}, words);
  }

  void EditConfig(const std::function<void(nlohmann::json&)>& edit) {
    nlohmann::json config = nlohmann::json::parse(*ReadFile(model() / "config.json"));
    edit(config);
    WriteTestFile(model() / "config.json", config.dump());
  }

  std::string WriteJob(const std::string& yaml) {
    const std::filesystem::path file = folder_ / "job.yaml";
    WriteTestFile(file, yaml);
    return file.string();
  }
};

TEST_F(BadInputTest, MalformedYaml) {
  ExpectFailure({"run", WriteJob("seed: 1\ntarget: [0.7\n")}, {"job.yaml:"});
}

TEST_F(BadInputTest, UnknownKey) {
  ExpectFailure({"run", WriteJob("seed: 1\noutptu: here\n")}, {"job.yaml:2:1", "outptu", "output"});
}

TEST_F(BadInputTest, MissingJobFile) {
  ExpectFailure({"run", (folder_ / "none.yaml").string()}, {"none.yaml"});
}

TEST_F(BadInputTest, RatioOutOfRange) {
  ExpectFailure(SmallJob("run", {"--ratio", "1.5"}), {"ratio", "1.5"});
}

TEST_F(BadInputTest, RatioThatTheModelCannotReach) {
  // The embedding alone is about 9 % of the model.
  ExpectFailure(SmallJob("run", {"--ratio", "0.05"}), {"0.05"});
}

TEST_F(BadInputTest, MissingModel) {
  std::filesystem::remove_all(model());
  ExpectModelFailure({model().string()});
}

TEST_F(BadInputTest, MissingSafetensors) {
  std::filesystem::remove(model() / "model.safetensors");
  ExpectModelFailure({"model.safetensors"});
}

TEST_F(BadInputTest, TruncatedSafetensors) {
  std::filesystem::resize_file(model() / "model.safetensors", 100'000);
  ExpectModelFailure({"model.safetensors"});
}

TEST_F(BadInputTest, WrongShapes) {
  EditConfig([](nlohmann::json& config) { config["intermediate_size"] = 272; });
  ExpectModelFailure({"mlp.", "256", "272"});
}

TEST_F(BadInputTest, UnsupportedArchitecture) {
  EditConfig([](nlohmann::json& config) {
    config["model_type"] = "gpt_neox";
    config["architectures"] = {"GPTNeoXForCausalLM"};
  });
  ExpectModelFailure({"config.json", "gpt_neox"});
}

TEST_F(BadInputTest, MissingTokenizer) {
  std::filesystem::remove(model() / "tokenizer.json");
  ExpectModelFailure({"tokenizer.json", model().string()});
}

TEST_F(BadInputTest, MissingText) {
  std::filesystem::remove(text());
  ExpectModelFailure({"text.txt"});
}

TEST_F(BadInputTest, TooLittleText) {
  WriteTestFile(text(), "Hardly a word.");
  ExpectModelFailure({"text.txt", "tokens"});
}

TEST_F(BadInputTest, TextThatIsNotUtf8) {
  WriteTestFile(text(), SomeText(3000) + "\xff\xfe" + SomeText(3000));
  ExpectModelFailure({"text.txt", "UTF-8"});
}

TEST_F(BadInputTest, UnwritableOutput) {
  // A file where a folder would have to be: even root cannot write below it.
  WriteTestFile(folder_ / "file", "");
  ExpectFailure(SmallJob("run", {"--output", (folder_ / "file/out").string()}), {"file/out"});
}

TEST_F(BadInputTest, OutputThatExists) {
  WriteTestFile(folder_ / "taken/something", "kept");
  ExpectFailure(SmallJob("run", {"--output", (folder_ / "taken").string()}), {"taken"});
  EXPECT_EQ(*ReadFile(folder_ / "taken/something"), "kept");
}

TEST_F(BadInputTest, MasksOfAnotherModel) {
  WriteTestFile(folder_ / "masks.json", R"({"masks": [{"attn": ["ff"], "mlp": "ff"}]})");
  ExpectFailure({"eval", "--model", model().string(), "--text", text().string(), "--masks",
                 (folder_ / "masks.json").string()},
                {"masks.json"});
}

TEST_F(BadInputTest, UnknownDevice) {
  ExpectFailure({"eval", "--model", model().string(), "--text", text().string(), "--device", "tpu"},
                {"tpu"});
}

TEST_F(BadInputTest, CoordinatorNotThere) {
  // Port 1 needs a privilege to listen on, and nobody does.
  const std::vector<std::string> address = {"--coordinator", "127.0.0.1:1"};
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"list"},
                                             {"workers"},
                                             {"get", "j"},
                                             {"watch", "j"},
                                             {"cancel", "j"},
                                             {"result", "j"},
                                             SmallJob("submit")}) {
    std::vector<std::string> arguments = command;
    arguments.insert(arguments.end(), address.begin(), address.end());
    ExpectFailure(arguments, {"127.0.0.1:1", "--coordinator"});
  }
  environment_["ESPALIER_COORDINATOR"] = "127.0.0.1:2";
  ExpectFailure({"list"}, {"127.0.0.1:2"});
}

}  // namespace
}  // namespace espalier
