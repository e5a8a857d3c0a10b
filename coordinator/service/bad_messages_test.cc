// Messages that are too large or no messages at all: refused with a reason, and the process lives.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/service/server.h"
#include "coordinator/service/testing/raw_call.h"
#include "espalier/v1/jobs.grpc.pb.h"
#include "espalier/v1/worker.grpc.pb.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

class BadMessagesTest : public ::testing::Test {
 protected:
  BadMessagesTest() {
    auto server = CoordinatorServer::Start({.listen = "127.0.0.1:0"});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
  }
  ~BadMessagesTest() override { ExpectAlive(); }

  void ExpectAlive() {
    grpc::ClientContext context;
    v1::ListJobsResponse response;
    const grpc::Status status =
        v1::JobService::NewStub(channel_)->ListJobs(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }

  static std::vector<std::string> Methods() {
    std::vector<std::string> methods;
    for (const google::protobuf::Descriptor* message :
         {v1::SubmitJobRequest::descriptor(), v1::WorkerMessage::descriptor()}) {
      const google::protobuf::ServiceDescriptor* service = message->file()->service(0);
      for (int i = 0; i < service->method_count(); ++i) {
        methods.push_back(absl::StrCat("/", service->full_name(), "/", service->method(i)->name()));
      }
    }
    return methods;
  }

  std::unique_ptr<CoordinatorServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(BadMessagesTest, NoMessageAtAll) {
  ASSERT_EQ(Methods().size(), 12u);
  for (const std::string& method : Methods()) {
    const grpc::Status status = RawCallStatus(channel_, method, "\xff\xff\xff\xff");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
    EXPECT_NE(status.error_message(), "") << method;
    ExpectAlive();
  }
}

TEST_F(BadMessagesTest, AMethodThatDoesNotExistIsUnimplemented) {
  EXPECT_EQ(RawCallStatus(channel_, "/espalier.v1.JobService/None", "").error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(BadMessagesTest, MoreThanAMessageMayBe) {
  // Field 1 of length 64 MiB: one byte more than the limit with its header.
  std::string large = std::string("\x0a\x80\x80\x80\x20", 5);
  large.resize(large.size() + (64 << 20), 'a');
  for (const std::string& method : Methods()) {
    const grpc::Status status = RawCallStatus(channel_, method, large);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << method;
    EXPECT_THAT(status.error_message(), HasSubstr("larger than max")) << method;
  }
}

}  // namespace
}  // namespace espalier
