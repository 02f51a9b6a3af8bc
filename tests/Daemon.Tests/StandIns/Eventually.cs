namespace Vmm.Daemon.Tests.StandIns;

internal static class Eventually
{
    /// <summary>Waits until something holds; fails when it does not come to that.</summary>
    public static async Task HoldsAsync(Func<Task<bool>> condition, string what)
    {
        for (int i = 0; i < 1000; i++)
        {
            if (await condition())
            {
                return;
            }

            await Task.Delay(20);
        }

        Assert.Fail($"never: {what}");
    }
}
