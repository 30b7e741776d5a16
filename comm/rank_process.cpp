#include "comm/rank_process.hpp"

#include <array>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace crossover {
namespace {

std::vector<std::string> environment_strings(const RankJob& job, const RankProcess& who, int progress) {
    Environment environment = read_environment();
    environment.emplace("NCCL_NVLS_ENABLE", "0"); // unless the user has set it
    environment["RANK"] = std::to_string(who.rank);
    environment["WORLD_SIZE"] = std::to_string(job.world_size);
    environment["LOCAL_RANK"] = std::to_string(who.local_rank);
    environment["LOCAL_WORLD_SIZE"] = std::to_string(job.local_size);
    environment["MASTER_ADDR"] = job.address;
    environment["MASTER_PORT"] = std::to_string(job.port);
    environment[kProgressVariable] = std::to_string(progress);
    for (const auto& [name, value] : job.environment) environment[name] = value;
    std::vector<std::string> strings;
    for (const auto& [name, value] : environment) strings.push_back(name + "=" + value);
    return strings;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
    std::vector<char*> result;
    for (std::string& string : strings) result.push_back(string.data());
    result.push_back(nullptr);
    return result;
}

} // namespace

void pass_on(Child& child, bool all) {
    std::array<char, 4096> buffer;
    ssize_t got = 0;
    while ((got = read(child.output.get(), buffer.data(), buffer.size())) > 0)
        child.line.append(buffer.data(), static_cast<std::size_t>(got));
    if (got == 0) child.output.reset(); // or poll() would report the end for ever
    if ((all || got == 0) && !child.line.empty() && child.line.back() != '\n') child.line += '\n';

    const std::string prefix = "[rank " + std::to_string(child.who.rank) + "] ";
    std::string text;
    std::size_t begin = 0;
    for (std::size_t end; (end = child.line.find('\n', begin)) != std::string::npos; begin = end + 1)
        text += prefix + child.line.substr(begin, end + 1 - begin);
    child.line.erase(0, begin);
    write_all(STDERR_FILENO, text);
}

Child start_rank_process(const RankJob& job, const RankProcess& who, const Pipe& progress, const sigset_t& mask) {
    std::vector<std::string> argument_strings{job.program};
    argument_strings.insert(argument_strings.end(), job.arguments.begin(), job.arguments.end());
    std::vector<std::string> variable_strings = environment_strings(job, who, progress.write.get());
    const std::vector<char*> arguments = pointers(argument_strings), variables = pointers(variable_strings);
    const bool captured = who.rank != 0;
    Pipe output = captured ? make_pipe(0) : Pipe{};
    Pipe status = make_pipe(0); // closed by a successful exec, else brings errno
    const pid_t parent = getpid();

    const pid_t pid = fork();
    if (pid < 0) throw_errno("fork");
    if (pid == 0) { // from here to exec only async-signal-safe calls
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(127); // it died before the line above
        const int null = open("/dev/null", O_RDONLY);
        if (null >= 0) dup2(null, STDIN_FILENO);
        if (captured) {
            dup2(output.write.get(), STDOUT_FILENO);
            dup2(output.write.get(), STDERR_FILENO);
        }
        fcntl(progress.write.get(), F_SETFD, 0); // stays open across exec
        sigprocmask(SIG_SETMASK, &mask, nullptr);
        execve(job.program.c_str(), arguments.data(), variables.data());
        const int error = errno;
        [[maybe_unused]] const ssize_t ignored = write(status.write.get(), &error, sizeof error);
        _exit(127);
    }
    status.write.reset();
    int error = 0;
    if (read(status.read.get(), &error, sizeof error) == sizeof error) {
        waitpid(pid, nullptr, 0);
        throw std::system_error(error, std::generic_category(), "cannot start rank process " + job.program);
    }
    if (captured) fcntl(output.read.get(), F_SETFL, O_NONBLOCK);
    return {who, pid, std::move(output.read), {}, std::chrono::steady_clock::now()};
}

} // namespace crossover
