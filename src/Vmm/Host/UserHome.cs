namespace Vmm.Host;

/// <summary>The home directory of this user.</summary>
internal static class UserHome
{
    /// <summary><c>$HOME</c>; where that is not set, as in services and <c>env -i</c>, what passwd(5) says. Null for none.</summary>
    public static string? Path => Environment.GetFolderPath(Environment.SpecialFolder.UserProfile, Environment.SpecialFolderOption.DoNotVerify) is ['/', ..] home
        ? home
        : null;
}
