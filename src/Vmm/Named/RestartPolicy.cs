using System.Globalization;
using Vmm.Host;

namespace Vmm.Named;

/// <summary>What happens when a machine has ended by itself: <c>--restart</c>.</summary>
/// <param name="Kind">When it is started again.</param>
/// <param name="Most">For <see cref="RestartKind.OnFailure"/>: so often at most in a row; null for no limit.</param>
internal readonly record struct RestartPolicy(RestartKind Kind, int? Most)
{
    public const string NoText = "no";

    private const string AlwaysText = "always", OnFailureText = "on-failure";

    /// <summary>A run of this length counts as successful: the delays start again from the shortest.</summary>
    private static readonly TimeSpan WentWell = TimeSpan.FromSeconds(10);

    private static readonly TimeSpan First = TimeSpan.FromMilliseconds(100), Longest = TimeSpan.FromMinutes(1);

    public static bool TryParse(string text, out RestartPolicy policy)
    {
        int? most = null;
        string kind = text;
        if (text.StartsWith(OnFailureText + ":", StringComparison.Ordinal))
        {
            kind = OnFailureText;
            most = int.TryParse(text.AsSpan(kind.Length + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int number)
                && number > 0 ? number : -1;
        }

        RestartKind? found = kind switch
        {
            NoText => RestartKind.No,
            AlwaysText => RestartKind.Always,
            OnFailureText => RestartKind.OnFailure,
            _ => null,
        };
        policy = new RestartPolicy(found ?? RestartKind.No, most);
        return found is not null && most != -1;
    }

    /// <exception cref="UsageException">There is no such policy.</exception>
    public static RestartPolicy Parse(string text) => TryParse(text, out RestartPolicy policy)
        ? policy
        : throw new UsageException($"--restart {text}: there are {NoText}, {OnFailureText}, {OnFailureText}:N (N times at most) and {AlwaysText}");

    /// <summary>How long to wait before the next life; null where there is to be none.</summary>
    /// <param name="code">What the last one ended with.</param>
    /// <param name="lasted">How long it was up; zero if it never was.</param>
    /// <param name="restarts">Lives before it that ended soon, in a row.</param>
    public TimeSpan? Next(int code, TimeSpan lasted, int restarts)
    {
        if (Kind == RestartKind.No || (Kind == RestartKind.OnFailure && code == 0))
        {
            return null;
        }

        restarts = lasted >= WentWell ? 0 : restarts;
        if (Kind == RestartKind.OnFailure && restarts >= Most)
        {
            return null;
        }

        // 0.1, 0.2, 0.4 ... 60 s.
        double delay = Math.ScaleB(First.TotalSeconds, Math.Min(restarts, 16));
        return TimeSpan.FromSeconds(Math.Min(delay, Longest.TotalSeconds));
    }

    /// <summary>The number of lives in a row that ended soon, after one more.</summary>
    public static int Count(TimeSpan lasted, int restarts) => lasted >= WentWell ? 1 : restarts + 1;

    public override string ToString() => Kind switch
    {
        RestartKind.Always => AlwaysText,
        RestartKind.OnFailure => Most is { } most ? string.Create(CultureInfo.InvariantCulture, $"{OnFailureText}:{most}") : OnFailureText,
        _ => NoText,
    };
}

internal enum RestartKind
{
    No,

    /// <summary>When its vmm ended with another code than 0.</summary>
    OnFailure,

    /// <summary>Whatever it ended with, until somebody stops it.</summary>
    Always,
}
