using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using Vmm.Host;
using Vmm.Named;

namespace Vmm.Tests.Named;

/// <summary>What is seen of machines from outside, with stand-ins at their control sockets.</summary>
public sealed class MachinePollTests : IDisposable
{
    private const string Greeting = "{\"protocol\":1,\"vmm\":\"0.9.0\",\"pid\":1}\n";

    private readonly TemporaryStore _place = new();
    private readonly List<IDisposable> _owned = [];

    public void Dispose()
    {
        _owned.ForEach(static each => each.Dispose());
        _place.Dispose();
    }

    [Fact]
    public void A_machine_tells_its_state_and_figures()
    {
        MachineFolder folder = Add("db", Greeting
            + "{\"event\":\"state\",\"state\":\"paused\"}\n"
            + "{\"id\":1,\"result\":{\"state\":\"paused\",\"uptime\":10,\"pid\":1,\"unknown\":[]}}\n"
            + "{\"id\":2,\"result\":{\"exits\":[100,50],\"cpuTime\":1.5,\"resident\":4096}}\n", stays: true);
        MachineStatus view = Look(folder, seconds: 20);      // a busy host may take a while
        Assert.Equal(
            (MachineStateName.Paused, 10.0, 1.5, 150L, 15.0, 4096L),
            (view.State, view.Uptime!.Value, view.CpuTime!.Value, view.Exits!.Value, view.ExitRate!.Value, view.Resident!.Value));
    }

    [Theory]
    [InlineData("")]
    [InlineData(Greeting)]
    [InlineData("hello\n")]
    [InlineData("[1,2]\n")]
    [InlineData("{\"id\":1,\"result\":7}\n{\"id\":2}\n")]
    [InlineData("{\"id\":1,\"error\":{\"code\":\"busy\",\"message\":\"no\"}}\n{\"id\":2,\"error\":{}}\n")]
    [InlineData("{\"id\":\"1\",\"result\":{}}\n")]
    [InlineData("{\"id\":1,\"result\":{\"state\":7}}\n{\"id\":2,\"result\":{}}\n")]
    public void One_that_answers_nonsense_or_nothing_is_silent(string said) =>
        Assert.Equal(MachineStateName.Silent, Look(Add("db", said)).State);

    [Fact]
    public void One_that_never_ends_its_line_is_silent() =>
        Assert.Equal(MachineStateName.Silent, Look(Add("db", new string('x', 3 << 20))).State);

    [Fact]
    public void One_whose_socket_is_gone_runs_all_the_same()
    {
        (MachineFolder folder, FileDescriptor life) = _place.Store.TryCreate(Running("db"))!.Value;
        _owned.Add(life);
        Assert.Equal(MachineStateName.Running, Look(folder).State);
    }

    /// <summary>One after another would take as many times as long.</summary>
    [Fact]
    public void A_hundred_are_asked_at_once_and_the_slow_hold_up_nobody()
    {
        MachineFolder[] folders = [.. Enumerable.Range(0, 100).Select(number => Add(
            $"m{number:00}",
            number % 10 == 0 ? Greeting : Greeting + "{\"id\":1,\"result\":{\"state\":\"running\",\"uptime\":1}}\n{\"id\":2,\"result\":{\"exits\":[1]}}\n",
            stays: true))];
        long begin = Stopwatch.GetTimestamp();
        IReadOnlyList<MachineStatus> views = MachinePoll.Look(_place.Store.List(), TimeSpan.FromSeconds(4));
        Assert.InRange(Stopwatch.GetElapsedTime(begin).TotalSeconds, 3.9, 39);      // ten patiences would be forty seconds
        Assert.Equal(folders.Select(static folder => folder.Name), views.Select(static view => view.Name));
        Assert.Equal(10, views.Count(static view => view.State == MachineStateName.Silent));
        Assert.Equal(90, views.Count(static view => view.State == MachineStateName.Running));
    }

    [Fact]
    public void One_that_was_removed_or_damaged_meanwhile_is_no_crash()
    {
        MachineFolder gone = _place.Add("gone"), damaged = _place.Add("damaged");
        IReadOnlyList<MachineFolder> all = _place.Store.List();
        Directory.Delete(gone.Path, recursive: true);
        File.WriteAllText(Path.Combine(damaged.Path, MachineRecord.FileName), "{");
        Assert.All(MachinePoll.Look(all, TimeSpan.FromSeconds(1)), static view => Assert.Equal(MachineStateName.Damaged, view.State));
    }

    private MachineRecord Running(string name) =>
        _place.Record(name) with { Pid = 1, Boot = MachineRecord.BootOfHost, Started = DateTimeOffset.UtcNow };

    private static MachineStatus Look(MachineFolder folder, int seconds = 1) =>
        Assert.Single(MachinePoll.Look([folder], TimeSpan.FromSeconds(seconds)));

    /// <param name="stays">It does not close the connection.</param>
    private MachineFolder Add(string name, string said, bool stays = false)
    {
        (MachineFolder folder, FileDescriptor life) = _place.Store.TryCreate(Running(name))!.Value;
        _owned.Add(life);
        Directory.CreateDirectory(folder.RuntimePath(folder.Read()));
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(folder.ControlPath(folder.Read())));
        listener.Listen();
        _owned.Add(listener);

        // A thread of its own: those of the pool are few, and other tests have them.
        new Thread(() =>
        {
            try
            {
                Socket socket = listener.Accept();
                lock (_owned)
                {
                    _owned.Add(socket);
                }

                socket.Send(Encoding.ASCII.GetBytes(said));
                if (!stays)
                {
                    socket.Dispose();
                }
            }
            catch (Exception error) when (error is SocketException or ObjectDisposedException)
            {
                // Whoever asked has gone.
            }
        })
        { IsBackground = true }.Start();
        return folder;
    }
}
