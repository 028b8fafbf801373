// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Orders placed on chain. `amount` is Wh in one quarter-hour, `price` micro-currency per kWh, `expiry` UTC
/// seconds.
interface IEnergyTrading {
    /// @notice An order; `amount` is what is still open.
    struct Order {
        address trader;
        uint256 amount;
        uint256 price;
        uint256 expiry;
        OrderType orderType;
        OrderStatus status;
    }

    /// @notice Direction of an order.
    enum OrderType {
        BUY,
        SELL
    }

    /// @notice What became of an order.
    enum OrderStatus {
        ACTIVE,
        FILLED,
        CANCELLED
    }

    /// @notice Forces an order into the auctions of the first quarter-hour whose gate is at least one round away.
    function createOrder(uint256 amount, uint256 price, uint256 expiry, OrderType orderType)
        external
        returns (uint256 orderId);
    /// @notice Withdraws an order of the caller's.
    function cancelOrder(uint256 orderId) external;
    /// @notice Matches two orders while no header arrives: the way out when the operator is gone.
    function matchOrders(uint256 buyOrderId, uint256 sellOrderId) external;
    /// @notice Pays the seller of a matched trade after delivery.
    function settleTransaction(uint256 transactionId) external;
}
