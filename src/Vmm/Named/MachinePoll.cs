using System.Text.Json;
using Tmds.Linux;
using Vmm.Host;

namespace Vmm.Named;

/// <summary>Asks many machines for their status at once, over their control sockets: a slow one does not delay the
/// others.</summary>
internal static unsafe class MachinePoll
{
    private const int MostLine = 1 << 20;

    private static readonly byte[] Requests = "{\"id\":1,\"command\":\"status\"}\n{\"id\":2,\"command\":\"stats\"}\n"u8.ToArray();

    /// <summary>Looks at each, and asks those that run.</summary>
    /// <param name="patience">For how long all of them together may take; who has not answered then is silent.</param>
    public static IReadOnlyList<MachineStatus> Look(IReadOnlyList<MachineFolder> folders, TimeSpan patience)
    {
        MachineStatus[] views = [.. folders.Select(MachineStatus.Of)];
        List<Asked> asked = [];
        try
        {
            for (int i = 0; i < views.Length; i++)
            {
                if (views[i] is { State: MachineStateName.Running or MachineStateName.Starting or MachineStateName.Stopping, Record: { } record } view)
                {
                    asked.Add(new Asked(i, view.Folder.ControlPath(record)));
                }
            }

            Exchange(asked, patience);
            foreach (Asked each in asked)
            {
                views[each.Index] = each.Complete(views[each.Index]);
            }
        }
        finally
        {
            asked.ForEach(static each => each.Dispose());
        }

        return views;
    }

    private static void Exchange(List<Asked> asked, TimeSpan patience)
    {
        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        var polls = new pollfd[asked.Count];
        while (true)
        {
            // Where somebody's queue of connections is full there is no event: look again soon.
            bool mustTry = false;
            foreach (Asked each in asked)
            {
                mustTry |= !each.IsOver && !each.TryBegin();
            }

            List<Asked> open = asked.FindAll(static each => !each.IsOver);
            long left = end - Environment.TickCount64;
            if (open.Count == 0 || left <= 0)
            {
                return;
            }

            for (int i = 0; i < open.Count; i++)
            {
                polls[i] = new pollfd { fd = open[i].Number, events = LibC.POLLIN };
            }

            fixed (pollfd* all = polls)
            {
                // SAFETY: as many structs as there are open.
                _ = LibC.Poll(all, (uint)open.Count, (int)Math.Min(left, mustTry ? 5 : left));
            }

            for (int i = 0; i < open.Count; i++)
            {
                if (polls[i].revents != 0)
                {
                    open[i].Receive();
                }
            }
        }
    }

    /// <summary>One machine that is asked.</summary>
    private sealed class Asked(int index, string path) : IDisposable
    {
        private readonly FileDescriptor _socket = UnixSocket.Create();
        private byte[] _in = new byte[2048];
        private int _count;
        private bool _isConnected, _isAbsent;
        private JsonElement? _status, _statistics;

        public int Index { get; } = index;

        /// <summary>Nothing more comes.</summary>
        public bool IsOver { get; private set; }

        public int Number => _isConnected ? _socket.Number : -1;

        /// <returns>False while there is no room for a connection.</returns>
        public bool TryBegin()
        {
            if (_isConnected)
            {
                return true;
            }

            int errno = UnixSocket.Connect(_socket, path);
            if (errno == ErrnoException.EAGAIN)
            {
                return false;
            }

            _isAbsent = errno == ErrnoException.ENOENT;

            // The answers fit into the socket's buffer, and so do the requests.
            _isConnected = errno == 0 && new ConnectedSocket(_socket).Send(Requests) == Requests.Length;
            IsOver = !_isConnected;
            return true;
        }

        public void Receive()
        {
            if (_count == _in.Length)
            {
                if (_count >= MostLine)
                {
                    IsOver = true;      // no vmm says so much
                    return;
                }

                Array.Resize(ref _in, _count * 2);
            }

            int got = new ConnectedSocket(_socket).Receive(_in.AsSpan(_count));
            if (got <= 0)
            {
                IsOver |= got < 0;
                return;
            }

            _count += got;
            while (!IsOver && _in.AsSpan(0, _count).IndexOf((byte)'\n') is >= 0 and var length)
            {
                Take(_in.AsMemory(0, length));
                _in.AsSpan(length + 1, _count - length - 1).CopyTo(_in);
                _count -= length + 1;
            }
        }

        /// <summary>What is known now.</summary>
        public MachineStatus Complete(MachineStatus view)
        {
            if (_status is not { } status)
            {
                // It may have ended since; and a socket that is gone (a session's directory that was removed) tells nothing.
                MachineStatus now = MachineStatus.Of(view.Folder);
                return !_isAbsent && now.State is MachineStateName.Running or MachineStateName.Stopping ? now with { State = MachineStateName.Silent } : now;
            }

            double? uptime = NumberOf(status, "uptime");
            long? exits = _statistics is { } told && told.TryGetProperty("exits", out JsonElement counts) && counts.ValueKind == JsonValueKind.Array
                ? counts.EnumerateArray().Aggregate(0L, static (sum, count) => unchecked(sum + WholeOf(count)))
                : null;
            return view with
            {
                State = StateOf(status, view.State),
                Uptime = uptime,
                CpuTime = _statistics is { } cpu ? NumberOf(cpu, "cpuTime") : null,
                Resident = _statistics is { } memory && NumberOf(memory, "resident") is { } resident ? (long)resident : null,
                Exits = exits,
                ExitRate = exits is { } count && uptime is > 0 and { } seconds ? count / seconds : null,
            };
        }

        public void Dispose() => _socket.Dispose();

        private static MachineStateName StateOf(JsonElement status, MachineStateName seen) =>
            status.TryGetProperty("state", out JsonElement state) && state.ValueKind == JsonValueKind.String ? state.GetString() switch
            {
                "paused" => MachineStateName.Paused,
                "stopping" => MachineStateName.Stopping,
                "booting" => MachineStateName.Starting,
                _ => seen == MachineStateName.Stopping ? seen : MachineStateName.Running,
            }
            : MachineStateName.Silent;

        private static double? NumberOf(JsonElement from, string name) =>
            from.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.Number && value.GetDouble() is var number
                && double.IsFinite(number) ? number : null;

        private static long WholeOf(JsonElement value) => value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out long number) ? number : 0;

        private void Take(ReadOnlyMemory<byte> line)
        {
            try
            {
                using JsonDocument document = JsonDocument.Parse(line);
                JsonElement root = document.RootElement;
                if (root.ValueKind != JsonValueKind.Object)
                {
                    IsOver = true;
                    return;
                }

                if (!root.TryGetProperty("id", out JsonElement id) || !id.TryGetInt32(out int number))
                {
                    return;     // the greeting, or an event
                }

                JsonElement? result = root.TryGetProperty("result", out JsonElement found) && found.ValueKind == JsonValueKind.Object
                    ? found.Clone() : null;
                _status = number == 1 ? result : _status;
                _statistics = number == 2 ? result : _statistics;
                IsOver = number == 2;
            }
            catch (Exception error) when (error is JsonException or InvalidOperationException)
            {
                IsOver = true;          // it is no machine of vmm's
            }
        }
    }
}
